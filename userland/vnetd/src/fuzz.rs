// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! What is given to the fuzzer: everything that reads bytes of others, without what it would be done to.

use std::sync::Arc;

use crate::merge::{Complete, Merger};
use crate::message;
use crate::offload::{self, VNET_HEADER_LEN, VnetHeader};
use crate::{expression, icmp, inner, requests, state};

/// A packet of the control socket, as who may change things sends it.
pub fn request(data: &[u8]) {
    if let Some((header, payload)) = message::split(data) {
        requests::check(&header, payload);
    }
    let _ = state::decode(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = expression::parse(text);
    }
}

/// A frame from a device or from the network, behind the header that a device gives.
pub fn frame(data: &[u8]) {
    let Some((header, frame)) = data.split_first_chunk::<VNET_HEADER_LEN>() else {
        return;
    };
    let header = VnetHeader::parse(header);
    let mut copy = frame.to_vec();
    let _ = offload::complete(&mut copy, &header);
    let mut out = Vec::new();
    if let Some(segments) = offload::segment(frame, &header, b"prefix", &mut out) {
        assert_eq!(out.chunks(segments.size).count(), segments.count);
    }
    let _ = icmp::too_big(frame, 1400);
    let _ = inner::flow_hash(frame);
    if let inner::Mark::Taken(ip, tos) = inner::decapsulate_ecn(&copy, 3) {
        ip.set_tos(&mut copy, tos);
    }
    let owner = Arc::new(());
    let mut merger = Merger::new();
    let mut count = 0;
    let mut all = |complete: Complete<'_, ()>| count += complete.count;
    merger.offer(&owner, frame, true, &mut all);
    merger.offer(&owner, &copy, true, &mut all);
    merger.pass(&owner, frame, &mut all);
    merger.flush(&mut all);
    assert_eq!(count, 3, "no frame is lost, none is made");
}
