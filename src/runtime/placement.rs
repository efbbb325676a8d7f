//! Which node of a session runs where, asked of ONNX Runtime itself.

#![expect(unsafe_code, reason = "the assignment is reachable through the C interface only")]

use std::ffi::CStr;

use ort::{AsPointer, ortsys, session::Session};

use super::provider::Placement;

/// Session configuration without which ONNX Runtime does not record the assignment.
pub(super) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// Where the nodes of a session are.
pub(super) fn assignment(session: &Session) -> ort::Result<Placement> {
    let mut subgraphs: *const *const ort::sys::OrtEpAssignedSubgraph = std::ptr::null();
    let mut subgraph_count = 0usize;
    // SAFETY: the session is alive; the arrays it hands out live as long as it does and are only read here
    ortsys![unsafe Session_GetEpGraphAssignmentInfo(session.ptr(), &mut subgraphs, &mut subgraph_count)?];
    let mut placed = Placement::new();
    for at in 0..subgraph_count {
        // SAFETY: `at` is within the count given with the array
        let subgraph = unsafe { *subgraphs.add(at) };
        let mut provider = std::ptr::null();
        ortsys![unsafe EpAssignedSubgraph_GetEpName(subgraph, &mut provider)?];
        let mut nodes: *const *const ort::sys::OrtEpAssignedNode = std::ptr::null();
        let mut node_count = 0usize;
        ortsys![unsafe EpAssignedSubgraph_GetNodes(subgraph, &mut nodes, &mut node_count)?];
        // SAFETY: a NUL-terminated string owned by the session
        let provider = unsafe { CStr::from_ptr(provider) }.to_string_lossy().into_owned();
        let operators = placed.entry(provider).or_default();
        for at in 0..node_count {
            // SAFETY: as above
            let node = unsafe { *nodes.add(at) };
            let mut operator = std::ptr::null();
            ortsys![unsafe EpAssignedNode_GetOperatorType(node, &mut operator)?];
            // SAFETY: as above
            let operator = unsafe { CStr::from_ptr(operator) }.to_string_lossy().into_owned();
            *operators.entry(operator).or_default() += 1;
        }
    }
    Ok(placed)
}
