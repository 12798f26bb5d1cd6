//! Asking nodes: one endpoint leads to all of them, and they are asked at the same time.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{Exit, Failure};
use crate::api::{ClusterNode, ClusterReport, ErrorReport};
use crate::http::{Method, ask};

/// The admin address that was given, and how long an answer may take.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) limit: Duration,
}

/// What one node had to say.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Heard<T> {
    pub(super) node: u64,
    pub(super) address: String,
    pub(super) admin: Option<String>,
    /// Its answer, when it gave one.
    pub(super) report: Option<T>,
    /// Why it gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreachable: Option<String>,
}

impl Endpoint {
    /// Asks this very node; its refusal is a failure.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        fetch(&self.address, path, self.limit)
    }

    /// The nodes of the cluster that this node belongs to. This node is reached where it was reached just now,
    /// which need not be the address it knows itself by.
    pub(super) fn cluster(&self) -> Result<ClusterReport, Failure> {
        let mut cluster: ClusterReport = self.get("/v1/cluster")?;
        let own = cluster.node;
        if let Some(node) = cluster.nodes.iter_mut().find(|node| node.node == own) {
            node.admin = Some(self.address.clone());
        }
        Ok(cluster)
    }

    /// Asks every node of `cluster` for `path`, all at once.
    pub(super) fn fan_out<T: DeserializeOwned + Send>(
        &self,
        cluster: &ClusterReport,
        path: &str,
    ) -> Vec<Heard<T>> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = cluster
                .nodes
                .iter()
                .map(|node| (node, scope.spawn(|| self.hear(node, path))))
                .collect();
            let heard = asked.into_iter().map(|(node, thread)| {
                let answer =
                    thread.join().unwrap_or_else(|_| Err("the question failed".to_owned()));
                let (report, unreachable) = match answer {
                    Ok(report) => (Some(report), None),
                    Err(why) => (None, Some(why)),
                };
                let ClusterNode { node, address, admin } = node.clone();
                Heard { node, address, admin, report, unreachable }
            });
            heard.collect()
        })
    }

    fn hear<T: DeserializeOwned>(&self, node: &ClusterNode, path: &str) -> Result<T, String> {
        let Some(admin) = &node.admin else {
            return Err("its admin address is not configured".to_owned());
        };
        fetch(admin, path, self.limit).map_err(|failure| failure.to_string())
    }
}

fn fetch<T: DeserializeOwned>(address: &str, path: &str, limit: Duration) -> Result<T, Failure> {
    let unreachable = |why: String| Failure::new(Exit::Unreachable, format!("{address} {why}"));
    let answer = ask(address, Method::Get, path, b"", limit)
        .map_err(|error| unreachable(error.to_string()))?;
    if answer.status == 200 {
        let foreign = |_| unreachable("answers, but not as a Kontiki node does".to_owned());
        return serde_json::from_slice(&answer.body).map_err(foreign);
    }
    let report: Result<ErrorReport, _> = serde_json::from_slice(&answer.body);
    match report {
        Ok(report) if answer.status == 404 => Err(Failure::new(Exit::NotFound, report.error)),
        Ok(report) => {
            Err(Failure::new(Exit::Refused, format!("{address} refused: {}", report.error)))
        }
        Err(_) => Err(unreachable(format!(
            "answers with status {}, not as a Kontiki node does",
            answer.status
        ))),
    }
}

/// A line for each node that did not answer, for people.
pub(super) fn complain<T>(heard: &[Heard<T>]) {
    for node in heard {
        if let Some(why) = &node.unreachable {
            eprintln!("raftctl: node {} is unreachable: {why}", node.node);
        }
    }
}
