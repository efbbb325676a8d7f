//! One loaded graph: what it says about itself, and the queue to its sessions.

use std::collections::BTreeMap;

use super::{family::GraphRole, manifest::GraphSpec};
use crate::{
    batch::{GraphQueue, Tensor},
    error::{Error, Result},
    runtime::GraphInfo,
};

/// A graph that serves. Clients of it speak of roles; their order in the graph is known here.
pub struct Graph {
    pub info: GraphInfo,
    pub queue: GraphQueue,
    role: GraphRole,
    /// The role of each input, in the graph's order.
    inputs: Vec<String>,
    /// The place of each output among the graph's.
    outputs: BTreeMap<String, usize>,
}

impl Graph {
    /// The names of `spec` are all in `info`, and every input of `info` has a role: the checks at load saw to it.
    pub(super) fn new(role: GraphRole, spec: &GraphSpec, info: GraphInfo, queue: GraphQueue) -> Self {
        let inputs = info.inputs.iter().map(|port| role_of(&spec.inputs, &port.name).to_owned()).collect();
        let outputs = spec
            .outputs
            .iter()
            .filter_map(|(part, name)| Some((part.clone(), info.outputs.iter().position(|port| port.name == *name)?)))
            .collect();
        Self { info, queue, role, inputs, outputs }
    }

    #[must_use]
    pub const fn role(&self) -> GraphRole {
        self.role
    }

    /// Items in one run, at most.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.queue.max_batch()
    }

    /// One item's inputs in the order the graph takes them.
    ///
    /// # Errors
    /// `internal` when a role is missing, given twice, or none of the graph's.
    pub fn inputs_from(&self, mut roles: Vec<(&str, Tensor)>) -> Result<Vec<Tensor>> {
        let fits = roles.len() == self.inputs.len()
            && self.inputs.iter().all(|wanted| roles.iter().any(|(role, _)| role == wanted));
        if !fits {
            let given: Vec<&str> = roles.iter().map(|(role, _)| *role).collect();
            let text = format!("graph {} takes {:?}, not {given:?}", self.role, self.inputs);
            return Err(Error::internal(text));
        }
        let mut take = |wanted: &String| {
            let at = roles.iter().position(|(role, _)| role == wanted)?;
            Some(roles.swap_remove(at).1)
        };
        Ok(self.inputs.iter().filter_map(&mut take).collect())
    }

    /// Where the output of a role stands among those of an answer.
    #[must_use]
    pub fn output_index(&self, role: &str) -> Option<usize> {
        self.outputs.get(role).copied()
    }
}

/// The role that a name in the graph is bound to.
pub(super) fn role_of<'a>(bindings: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    bindings.iter().find(|(_, port)| *port == name).map_or("", |(role, _)| role)
}
