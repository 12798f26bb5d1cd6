//! Counters as text for a scraper: the exposition format of Prometheus, version 0.0.4.

use std::fmt::Write;

use kontiki::Engine;
use kontiki::status::NodeStatus;

/// One figure: name, kind (`counter` or `gauge`), meaning, value.
type Figure = (&'static str, &'static str, &'static str, u64);

/// Everything a scraper gets of `engine`. Its name begins with `kontiki_`, and a counter's ends with `_total`.
pub(super) fn text(engine: &Engine, uptime_s: u64) -> String {
    let mut figures = engine.metrics().figures();
    figures.push(("uptime_seconds", "gauge", "Seconds since the process started.", uptime_s));
    if let Ok(status) = engine.status() {
        figures.extend(of_node(&status));
    }
    render(&figures, engine.node_id())
}

fn of_node(status: &NodeStatus) -> [Figure; 6] {
    let connected = status.peers.iter().filter(|peer| peer.connected).count() as u64;
    [
        ("groups", "gauge", "Replicas on this store.", status.groups),
        ("groups_leading", "gauge", "Replicas here that lead their group.", status.leading),
        ("groups_leaderless", "gauge", "Replicas here that know no leader.", status.leaderless),
        ("peers", "gauge", "Peers of this node.", status.peers.len() as u64),
        ("peers_connected", "gauge", "Peers to which a connection is up.", connected),
        ("boot_epoch", "gauge", "How often this store has been opened.", status.boot_epoch),
    ]
}

fn render(figures: &[Figure], node: u64) -> String {
    let mut text = String::with_capacity(figures.len() * 160);
    for (name, kind, help, value) in figures {
        let suffix = if *kind == "counter" { "_total" } else { "" };
        writeln!(text, "# HELP kontiki_{name}{suffix} {help}").expect("a String takes all");
        writeln!(text, "# TYPE kontiki_{name}{suffix} {kind}").expect("a String takes all");
        writeln!(text, "kontiki_{name}{suffix}{{node=\"{node}\"}} {value}")
            .expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rendered_as_a_scraper_wants_them() {
        let figures = [
            ("syncs", "counter", "Synced writes of the log.", 7),
            ("cache_bytes", "gauge", "Bytes in memory.", 0),
        ];
        assert_eq!(
            render(&figures, 3),
            "# HELP kontiki_syncs_total Synced writes of the log.\n\
             # TYPE kontiki_syncs_total counter\n\
             kontiki_syncs_total{node=\"3\"} 7\n\
             # HELP kontiki_cache_bytes Bytes in memory.\n\
             # TYPE kontiki_cache_bytes gauge\n\
             kontiki_cache_bytes{node=\"3\"} 0\n"
        );
    }

    #[test]
    fn every_counter_of_the_engine_is_a_valid_name() {
        for (name, kind, help, _) in kontiki::metrics::Metrics::default().figures() {
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert!(["counter", "gauge"].contains(&kind) && !help.contains('\n'), "{name}");
        }
    }
}
