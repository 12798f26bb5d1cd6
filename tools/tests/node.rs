//! One `kontiki-node` as a real process: what its admin listener answers, how it stops, what it leaves behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Node, Trio, node_ends, raftctl, raftctl_json, wait_all_led};
use kontiki::testing::wait_until;
use kontiki_tools::api::hex;
use kontiki_tools::http::Method;

fn single(dir: &std::path::Path, more: &[&str]) -> Vec<String> {
    let mut args = vec!["--node=1".to_owned(), format!("--data-dir={}", dir.display())];
    args.extend(
        ["--groups=4", "--election-timeout-ms=200", "--heartbeat-ms=50"].map(str::to_owned),
    );
    args.extend(more.iter().map(|&s| s.to_owned()));
    args
}

fn batch(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    pairs.iter().flat_map(|(k, v)| [&length(k), &length(v), *k, *v].concat()).collect()
}

#[test]
fn the_key_value_calls_work_and_survive_a_clean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let args = single(dir.path(), &[]);
    let node = Node::start(&args);
    wait_all_led(&[&node]);
    assert_eq!(node.ask(Method::Post, "/v1/kv/put?key=6b31", b"one").status, 200);
    let got = node.get("/v1/kv/get?key=6b31");
    assert_eq!((got.status, got.body.as_slice()), (200, b"one".as_slice()));
    assert_eq!(node.get("/v1/kv/get?key=6b32").status, 404);

    let many = batch(&[(b"k2", b"two"), (b"\xffk3", b"three"), (b"k1", b"uno")]);
    let answer = node.ask(Method::Post, "/v1/kv/batch", &many);
    let report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (report["applied"].as_u64(), report["errors"].as_array().unwrap().len()),
        (Some(3), 0)
    );
    assert_eq!(node.ask(Method::Post, "/v1/kv/delete?key=6b32", b"").status, 200);
    let page = node.json("/v1/kv/scan?limit=10");
    let keys: Vec<_> = page["items"].as_array().unwrap().iter().map(|i| i["key"].clone()).collect();
    assert_eq!(keys, [hex(b"k1"), hex(b"\xffk3")]);

    node.signal("-TERM");
    let (status, _) = node.wait();
    assert_eq!(status.code(), Some(0));

    let node = Node::start(&args);
    wait_all_led(&[&node]);
    assert_eq!(node.get("/v1/kv/get?key=6b31").body, b"uno");
    assert_eq!(node.json("/v1/status")["boot_epoch"].as_u64(), Some(2));
    node.signal("-INT");
    assert_eq!(node.wait().0.code(), Some(0));
}

#[test]
fn health_metrics_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&single(dir.path(), &[]));
    wait_all_led(&[&node]);
    assert_eq!(node.get("/healthz").body, b"ok\n");
    let metrics = String::from_utf8(node.get("/metrics").body).unwrap();
    for line in [
        "kontiki_groups{node=\"1\"} 4",
        "kontiki_groups_leaderless{node=\"1\"} 0",
        "# TYPE kontiki_replicas_awake gauge",
        "# TYPE kontiki_replicas_asleep gauge",
        "# TYPE kontiki_support_lapses_total counter",
        "kontiki_campaigns_in_flight{node=\"1\"} 0",
        "# TYPE kontiki_syncs_total counter",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for (target, status) in [
        ("/v1/groups/99", 404),
        ("/v1/groups/x", 400),
        ("/nowhere", 404),
        ("/v1/kv/get", 400),
        ("/v1/kv/get?key=zz", 400),
        ("/v1/kv/put?key=00", 405),
        ("/v1/kv/scan?limit=0", 400),
        ("/v1/groups/1/propose", 405),
    ] {
        let answer = node.get(target);
        assert_eq!(answer.status, status, "{target}: {}", String::from_utf8_lossy(&answer.body));
        let report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(report["error"].is_string(), "{target}");
    }
    let cut = node.ask(Method::Post, "/v1/kv/batch", &[9, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(cut.status, 400);
    let group = node.json("/v1/groups/1");
    assert_eq!((group["role"].as_str(), group["leader"].as_u64()), (Some("leader"), Some(1)));
    let digest = node.json("/v1/groups/1/digest");
    assert_eq!(digest["digest"].as_str().map(str::len), Some(16));
}

#[test]
fn other_machines_take_raw_commands_and_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&single(dir.path(), &["--machine=memory", "--durability=none"]));
    wait_all_led(&[&node]);
    assert_eq!(node.get("/v1/kv/get?key=00").status, 409);
    let command = [&3u32.to_le_bytes()[..], b"abc"].concat();
    let answer = node.ask(Method::Post, "/v1/groups/2/propose", &command.repeat(100));
    let report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, report["applied"].as_u64()), (200, Some(100)));
    let answer = node.ask(Method::Post, "/v1/groups/77/propose", &command);
    assert_eq!(answer.status, 404);
}

#[test]
fn a_store_has_one_owner_and_one_identity() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(&single(dir.path(), &[]));
    let data_dir = format!("--data-dir={}", dir.path().display());
    let second = node_ends(&["--node=1", &data_dir, "--groups=4"]);
    let err = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(4), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    node.kill();
    let other = node_ends(&["--node=2", &data_dir, "--groups=4"]);
    let err = String::from_utf8(other.stderr).unwrap();
    assert_eq!(other.status.code(), Some(5), "{err}");
    let other = node_ends(&["--node=1", "--cluster=77", &data_dir, "--groups=4"]);
    assert_eq!(other.status.code(), Some(5));
}

#[test]
fn a_live_cluster_is_shown_with_its_lag_and_a_dead_node_as_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let trio = Trio::new(dir.path(), 5);
    let mut nodes = trio.start_all();
    wait_all_led(&nodes.iter().collect::<Vec<_>>());
    for i in 0..20 {
        common::put(&nodes.iter().collect::<Vec<_>>(), &format!("{i}key"), b"value");
    }
    let endpoint = nodes[1].admin.clone();
    let from = ["--endpoint", endpoint.as_str()];

    let status = raftctl_json(&[&["status"][..], &from].concat());
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    let leading = |n: &serde_json::Value| n["report"]["leading"].as_u64().unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().iter().map(leading).sum::<u64>(), 5);

    // Followers are told of the last commit after the fact, so the lag goes to zero and is not there at once.
    let settled = wait_until("no lag", || {
        let listing = raftctl_json(&[&["group", "ls"][..], &from].concat());
        let groups = listing["groups"].as_array().unwrap().clone();
        assert_eq!((groups.len(), listing["unreachable"].as_array().unwrap().len()), (5, 0));
        let zero = |g: &serde_json::Value| {
            let replicas = g["replicas"].as_array().unwrap();
            replicas.len() == 3 && replicas.iter().all(|r| r["lag"].as_u64() == Some(0))
        };
        groups.iter().all(zero).then_some(())
    });
    settled.expect("no replica lags within 30 s");
    let table = raftctl(&[&["group", "ls"][..], &from].concat());
    assert_eq!((table.code, table.out.lines().count()), (Some(0), 6), "{}", table.out);
    assert!(table.out.lines().nth(1).unwrap().contains("1:0  2:0  3:0"), "{}", table.out);
    let one = raftctl(&[&["group", "get", "3"][..], &from].concat());
    assert!(
        one.code == Some(0) && one.out.contains("leader") && one.out.contains("replicate"),
        "{}",
        one.out
    );
    assert_eq!(raftctl(&[&["group", "get", "9"][..], &from].concat()).code, Some(6));
    let log = raftctl_json(&[&["log", "show", "3"][..], &from].concat());
    assert!(!log["blocks"].as_array().unwrap().is_empty());

    // Each node counts on both others, and gives both its support.
    wait_until("leases between all nodes", || {
        let listing = raftctl_json(&[&["node", "ls"][..], &from].concat());
        let views = listing["nodes"].as_array().unwrap().clone();
        let pairs = views.iter().flat_map(|view| view["pairs"].as_array().unwrap());
        let stands = |pair: &serde_json::Value| {
            pair["held_for_us"].is_u64()
                && pair["given_for_us"].is_u64()
                && pair["round_trips"]["p50_us"].is_u64()
        };
        (views.len() == 3 && pairs.filter(|pair| stands(pair)).count() == 6).then_some(())
    })
    .expect("six views of three pairs within 30 s");
    let table = raftctl(&[&["node", "ls"][..], &from].concat());
    assert_eq!((table.code, table.out.lines().count()), (Some(0), 7), "{}", table.out);

    nodes.remove(2).kill();
    wait_until("a lapse", || {
        let listing = raftctl_json(&[&["node", "ls"][..], &from].concat());
        let views = listing["nodes"].as_array().unwrap().clone();
        assert!(views[2]["pairs"].is_null() && views[2]["unreachable"].is_string(), "{listing}");
        let pairs = views[..2].iter().flat_map(|view| view["pairs"].as_array().unwrap());
        let lost = |pair: &serde_json::Value| {
            pair["held_for_us"].is_null() && pair["given_lapses"].as_u64() > Some(0)
        };
        let of_three = pairs.filter(|pair| pair["node"].as_u64() == Some(3));
        (of_three.filter(|pair| lost(pair)).count() == 2).then_some(())
    })
    .expect("support of a dead node lapses within 30 s");
    let status = raftctl(&[&["status"][..], &from].concat());
    assert_eq!(status.code, Some(0), "{}", status.err);
    assert!(status.out.contains("unreachable") && status.err.contains("node 3 is unreachable"));
    let listing = raftctl_json(&[&["group", "ls"][..], &from].concat());
    assert_eq!(listing["unreachable"], serde_json::json!([3]));
}

#[test]
fn a_stopped_and_a_running_store_are_read_from_their_directory() {
    let dir = tempfile::tempdir().unwrap();
    let args = single(dir.path(), &[]);
    let node = Node::start(&args);
    wait_all_led(&[&node]);
    for i in 0..10 {
        common::put(&[&node], &format!("key-{i}"), &[b'v'; 100]);
    }
    let dir_name = dir.path().display().to_string();
    let from = ["--data-dir", dir_name.as_str()];
    let look = |running: bool| {
        let info = raftctl_json(&[&["store", "info"][..], &from].concat());
        assert_eq!((info["node"].as_u64(), info["groups"].as_u64()), (Some(1), Some(4)));
        assert_eq!(info["in_use_by"].is_string(), running, "{info}");
        let listing = raftctl_json(&[&["group", "ls"][..], &from].concat());
        assert_eq!(listing["groups"].as_array().unwrap().len(), 4);
        let check = raftctl_json(&[&["store", "check"][..], &from].concat());
        assert_eq!(check["whole"].as_bool(), Some(true), "{check}");
        let table = raftctl(&[&["group", "ls"][..], &from].concat());
        assert_eq!((table.code, table.out.lines().count()), (Some(0), 5), "{}", table.out);
        assert_eq!(raftctl(&[&["group", "get", "2"][..], &from].concat()).code, Some(0));
        assert_eq!(raftctl(&[&["group", "get", "5"][..], &from].concat()).code, Some(6));
        let log = raftctl_json(&[&["log", "show", "1", "--from", "1"][..], &from].concat());
        assert_eq!(log["group"].as_u64(), Some(1));
    };
    look(true);
    // Whoever looks leaves no trace: the node goes on, and so does its store.
    common::put(&[&node], "after", b"x");
    node.signal("-TERM");
    assert_eq!(node.wait().0.code(), Some(0));
    look(false);
    let node = Node::start(&args);
    wait_all_led(&[&node]);
    assert_eq!(node.get(&format!("/v1/kv/get?key={}", hex(b"after"))).body, b"x");
}

#[test]
fn a_terminated_leader_hands_its_groups_over() {
    let dir = tempfile::tempdir().unwrap();
    let trio = Trio::new(dir.path(), 6);
    let mut nodes = trio.start_all();
    wait_all_led(&nodes.iter().collect::<Vec<_>>());
    // All to node 1 first, so that there is something to hand over.
    let moved = wait_until("node 1 to lead all", || {
        for node in &nodes[1..] {
            for group in 1..=6 {
                node.ask(Method::Post, &format!("/v1/groups/{group}/transfer?to=1"), b"");
            }
        }
        (nodes[0].json("/v1/status")["leading"].as_u64() == Some(6)).then_some(())
    });
    moved.expect("node 1 leads all groups within 30 s");
    let first = nodes.remove(0);
    first.signal("-TERM");
    assert_eq!(first.wait().0.code(), Some(0));
    // Handed over, and not waited out: the others lead as soon as the process has ended.
    wait_all_led(&nodes.iter().collect::<Vec<_>>());
    common::put(&nodes.iter().collect::<Vec<_>>(), "k", b"v");
    let wrong = nodes.iter().map(|n| n.ask(Method::Post, "/v1/kv/put?key=6b", b"w"));
    let wrong: Vec<_> = wrong.filter(|answer| answer.status == 421).collect();
    assert_eq!(wrong.len(), 1, "one of two leads the range");
    let report: serde_json::Value = serde_json::from_slice(&wrong[0].body).unwrap();
    assert_eq!(report["outcome"], "not_applied");
    assert!([2, 3].contains(&report["leader"].as_u64().unwrap()));
}
