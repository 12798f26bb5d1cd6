//! Three real processes under load: killed at any moment, asked to stop, and told apart.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use kontiki_tests::process::{
    Cluster, GROUP_TIMING, Load, Node, Random, audit, node_ends, replicas_agree, within,
};
use kontiki_tools::http::Method;

/// Groups of the test with `kill -9`.
const GROUPS: u64 = 1_000;
/// How often it kills.
const KILLS: usize = 20;
/// A killed node serves again within this time of its restart.
const SERVING: Duration = Duration::from_secs(5);

/// Lets the load run for a while.
fn meanwhile(load: &Load, time: Duration) {
    let (clock, before) = (kontiki::clock::Clock::new(), load.acknowledged());
    let end = clock.now().0 + u64::try_from(time.as_micros()).unwrap();
    while clock.now().0 < end {
        std::thread::park_timeout(Duration::from_micros(end - clock.now().0));
    }
    assert!(load.acknowledged() >= before);
}

/// What the nodes that are up have committed, by group.
fn committed(cluster: &Cluster) -> Vec<(u64, u64)> {
    let up = (0..3).filter(|&at| cluster.nodes[at].is_some());
    let mut all = std::collections::BTreeMap::new();
    for listing in up.map(|at| cluster.by_group(at, "committed").unwrap()) {
        for (group, index) in listing {
            let most = all.entry(group).or_insert(0);
            *most = index.max(*most);
        }
    }
    all.into_iter().collect()
}

/// How long a restarted node took.
#[derive(Debug)]
struct Back {
    /// Until it said that it is well.
    healthy: Duration,
    /// Until every group was led, and the node knew all leaders.
    led: Duration,
    /// Until it had applied all that was committed before it started.
    caught_up: Duration,
}

/// Starts the node at `at` again and measures.
fn restart(cluster: &mut Cluster, at: usize) -> Back {
    let before = committed(cluster);
    let clock = kontiki::clock::Clock::new();
    let start = clock.now().0;
    let taken = || Duration::from_micros(clock.now().0 - start);
    cluster.nodes[at] = Some(cluster.spawn(at));
    let limit = Duration::from_secs(30);
    within("healthy node", limit, || cluster.node(at).is_healthy().then_some(()));
    let healthy = taken();
    cluster.wait_all_led(limit);
    let led = taken();
    within("applied log", limit, || {
        let applied = cluster.by_group(at, "applied")?;
        before.iter().all(|(group, index)| applied[group] >= *index).then_some(())
    });
    Back { healthy, led, caught_up: taken() }
}

#[test]
fn twenty_kills_under_load_lose_nothing_acknowledged() {
    let mut random = Random::of_this_run("kill -9 under load");
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path(), GROUPS, &[]);
    let load = Load::start(&cluster.admins(), GROUPS, 3, random.bits());
    let mut slowest = Duration::ZERO;
    for kill in 1..=KILLS {
        meanwhile(&load, Duration::from_millis(random.below(1_000)));
        // Every other time the one whose loss is felt most: a restarted node leads nothing for a while.
        let led = |at: usize| cluster.leading(at).unwrap();
        let at =
            if kill % 2 == 0 { random.at(3) } else { (0..3).max_by_key(|&at| led(at)).unwrap() };
        let led = led(at);
        cluster.nodes[at].take().unwrap().kill();
        let down = Duration::from_millis(random.below(1_200));
        meanwhile(&load, down);
        if kill % 4 == 0 {
            // Once more, somewhere in the middle of its recovery.
            let starting = cluster.spawn(at);
            meanwhile(&load, Duration::from_millis(random.below(300)));
            starting.kill();
        }
        let back = restart(&mut cluster, at);
        eprintln!(
            "kill {kill:2}: node {} leading {led:4}, down {:4} ms, healthy in {:4} ms, \
             all led in {:4} ms, caught up in {:4} ms, {} acknowledged",
            at + 1,
            down.as_millis(),
            back.healthy.as_millis(),
            back.led.as_millis(),
            back.caught_up.as_millis(),
            load.acknowledged(),
        );
        slowest = slowest.max(back.caught_up);
    }
    for node in &mut cluster.nodes {
        node.take().unwrap().kill();
    }
    cluster.nodes = (0..3).map(|at| Some(cluster.spawn(at))).collect();
    let all = within("a cluster that came back whole", Duration::from_secs(30), || {
        cluster.all_led().then_some(())
    });
    let before = load.acknowledged();
    within("writes", Duration::from_secs(30), || (load.acknowledged() > before).then_some(()));
    let ledger = load.finish();
    eprintln!(
        "{KILLS} kills, slowest {slowest:.1?}; all three at once: {:.1?}; {} keys, {:?}",
        all.1,
        ledger.fates.len(),
        ledger.counts
    );
    audit(&cluster, &ledger);
    replicas_agree(&cluster);
    assert!(ledger.counts.acknowledged > 10_000, "{:?}", ledger.counts);
    assert!(slowest <= SERVING, "a node took {slowest:?} to serve again");
}

#[test]
fn a_rolling_restart_under_load_is_clean_and_loses_nothing() {
    let mut random = Random::of_this_run("rolling restart");
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path(), 100, &GROUP_TIMING);
    let load = Load::start(&cluster.admins(), 100, 2, random.bits());
    for at in 0..3 {
        within("a node that leads", Duration::from_secs(30), || {
            for group in 1..=10 {
                let target = format!("/v1/groups/{group}/transfer?to={}", at + 1);
                for other in (0..3).filter(|&other| other != at) {
                    cluster.node(other).ask(Method::Post, &target, b"").unwrap();
                }
            }
            cluster.leading(at).filter(|&count| count >= 10)
        });
        let mut node = cluster.nodes[at].take().unwrap();
        node.terminate();
        let status = node.wait();
        assert_eq!(status.code(), Some(0), "{}", node.last_words());
        assert!(!node.last_words().contains("still led here"), "{}", node.last_words());
        // Handed over: nobody had to wait for an election timeout.
        let led = cluster.wait_all_led(Duration::from_secs(30));
        eprintln!("node {} stopped; the others lead all after {led:.0?}", at + 1);
        cluster.restart(at);
        cluster.wait_all_led(Duration::from_secs(30));
    }
    let ledger = load.finish();
    eprintln!("{:?}", ledger.counts);
    audit(&cluster, &ledger);
    replicas_agree(&cluster);
}

#[test]
fn g18_a_directory_has_one_process_and_the_refusal_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path(), 8, &GROUP_TIMING);
    let elsewhere = |args: Vec<String>| -> Vec<String> {
        let own = |arg: &String| !arg.starts_with("--listen=") && !arg.starts_with("--admin=");
        args.into_iter().filter(own).collect()
    };
    let args = elsewhere(cluster.args(0));
    let second = node_ends(&args);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!((second.status.code(), said.lines().count()), (Some(4), 1), "{said}");
    assert!(said.contains(&cluster.node(0).pid().to_string()), "{said}");
    assert!(said.contains(&cluster.data_dir(0).display().to_string()), "{said}");
    // The first one was not disturbed.
    assert!(cluster.node(0).is_healthy());

    // A lock dies with its holder: no clean-up after `kill -9`.
    cluster.nodes[0].take().map(Node::kill).unwrap();
    for (flag, what) in [("--cluster=77", "cluster"), ("--node=9", "node")] {
        let name = flag.split('=').next().unwrap();
        let mut args: Vec<String> =
            args.iter().filter(|arg| !arg.starts_with(name)).cloned().collect();
        args.push(flag.to_owned());
        let foreign = node_ends(&args);
        let said = String::from_utf8(foreign.stderr).unwrap();
        assert_eq!((foreign.status.code(), said.lines().count()), (Some(5), 1), "{said}");
        assert!(said.contains(&format!("{what} id")), "{said}");
    }
    cluster.restart(0);
    cluster.wait_all_led(Duration::from_secs(30));
}
