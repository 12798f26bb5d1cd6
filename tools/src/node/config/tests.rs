//! Files and flags, good and bad.

use super::*;

const WHOLE: &str = r#"
node = 2
cluster = "0xfeed0000000000000000000000000001"
data_dir = "/tmp/x"
witness_dir = "/tmp/y"
listen = "127.0.0.1:7102"
admin = "127.0.0.1:7202"
machine = "memory"
durability = "os"
workers = 2
log_writer = "inline"
seed = 7

[[peers]]
id = 1
addr = "127.0.0.1:7101"
admin = "127.0.0.1:7201"

[[peers]]
id = 3
addr = "localhost:7103"

[bootstrap]
groups = 64

[timing]
election_timeout_ms = 500
heartbeat_ms = 100
flush_interval_ms = 5000

[limits]
inbox_bytes_max = 33554432
inflight_bytes_max = 1048576
"#;

fn load(text: &str, args: &[&str]) -> Result<Settings, String> {
    let flags =
        Flags::try_parse_from([&["kontiki-node"], args].concat()).map_err(|e| e.to_string())?;
    let file = parse(text).map_err(|(line, why)| format!("{line}: {why}"))?;
    Settings::merge(&flags, file).map_err(|e| e.to_string())
}

#[test]
fn a_whole_file_is_taken() {
    let settings = load(WHOLE, &[]).unwrap();
    let config = &settings.config;
    assert_eq!(config.cluster_id, 0xfeed_0000_0000_0000_0000_0000_0000_0001);
    assert_eq!((config.node_id, config.workers, config.seed), (2, 2, 7));
    assert_eq!((config.durability, config.log_writer), (Durability::Os, LogWriter::Inline));
    assert_eq!((config.raft.election_timeout_us, config.raft.heartbeat_us), (500_000, 100_000));
    assert_eq!((config.inbox_bytes_max, config.raft.inflight_bytes_max), (32 << 20, 1 << 20));
    assert_eq!(config.flush_interval, Duration::from_secs(5));
    assert_eq!(config.peers.iter().map(|p| p.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(settings.bootstrap.nodes, [1, 2, 3]);
    assert_eq!(settings.machine, Machine::Memory);
    assert_eq!(settings.admin, Some("127.0.0.1:7202".parse().unwrap()));
}

#[test]
fn flags_win_over_the_file() {
    let args = [
        "--node",
        "9",
        "--admin",
        "off",
        "--peer",
        "4=127.0.0.1:1,127.0.0.1:2",
        "--durability",
        "none",
    ];
    let settings = load(WHOLE, &args).unwrap();
    assert_eq!((settings.config.node_id, settings.admin), (9, None));
    assert_eq!(settings.bootstrap.nodes, [4, 9]);
    assert_eq!(settings.peers[0].admin.as_deref(), Some("127.0.0.1:2"));
    assert_eq!(settings.config.durability, Durability::None);
}

#[test]
fn flags_alone_are_enough() {
    let settings = load("", &["--node", "1", "--data-dir", "/tmp/z"]).unwrap();
    assert_eq!(settings.config.listen, SocketAddr::from(([127, 0, 0, 1], 0)));
    assert_eq!(settings.admin, Some(SocketAddr::from(([127, 0, 0, 1], 0))));
    assert_eq!(
        (settings.bootstrap.nodes.as_slice(), settings.machine),
        ([1].as_slice(), Machine::Kv)
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let error = |text: &str| load(text, &["--node", "1", "--data-dir", "/x"]).unwrap_err();
    let unknown = error("workers = 1\nlisten_on = \"127.0.0.1:1\"\n");
    assert!(unknown.starts_with("2: unknown field `listen_on`"), "{unknown}");
    let unknown = error("[limits]\n\ninbox_bytes = 5\n");
    assert!(unknown.starts_with("3: unknown field `inbox_bytes`"), "{unknown}");
    let unknown = error("[[peers]]\nid = 2\naddr = \"127.0.0.1:1\"\nport = 3\n");
    assert!(unknown.starts_with("4: unknown field `port`"), "{unknown}");
    assert!(
        error("workers = \"two\"\n").starts_with("1: invalid type"),
        "{}",
        error("workers = \"two\"\n")
    );
    assert!(
        error("\nadmin = \"somewhere\"\n").starts_with("2: "),
        "{}",
        error("\nadmin = \"somewhere\"\n")
    );
    assert!(error("workers = 1\nworkers = 2\n").starts_with("2: "), "a key may not come twice");
    assert!(error("cluster = \"xyz\"").contains("cluster"), "{}", error("cluster = \"xyz\""));
    assert!(!error("cluster = -1").contains('\n'));
}

#[test]
fn limits_and_addresses_are_checked() {
    let error = |args: &[&str]| load("", &[&["--data-dir", "/x"], args].concat()).unwrap_err();
    assert!(error(&[]).contains("no node id"));
    assert!(error(&["--node", "0"]).starts_with("node_id"));
    assert!(error(&["--node", "1", "--workers", "65"]).starts_with("workers"));
    assert!(error(&["--node", "1", "--peer", "1=127.0.0.1:5"]).starts_with("peers"));
    assert!(error(&["--node", "1", "--peer", "2=nowhere"]).starts_with("peers: node 2"));
    assert!(error(&["--node", "1", "--groups", "0"]).starts_with("bootstrap.groups"));
    assert!(error(&["--node", "1", "--listen", "0.0.0.0:0"]).contains("--insecure"));
    assert!(error(&["--node", "1", "--admin", "0.0.0.0:0"]).contains("--insecure"));
    let open =
        load("", &["--data-dir", "/x", "--node", "1", "--listen", "0.0.0.0:0", "--insecure"]);
    assert!(open.is_ok());
}
