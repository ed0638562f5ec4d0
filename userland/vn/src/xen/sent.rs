// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Memory of machines that dom0 has sent already, and still refers to.
//!
//! The data that a machine writes to an iSCSI disk leave dom0 in packets that refer to the machine's memory, and Xen cannot remove the
//! machine before the last of them is freed. A newer kernel gives a packet that a network card has sent to the CPU that made it
//! (`napi_consume_skb`), which frees it when it receives something itself the next time. Where one CPU receives for all, that is never.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Has each CPU receive something, and so free what waits there. Where that cannot be done nothing is lost but time.
pub(crate) fn free() {
    // The CPU is chosen for one thread: not for ours.
    let work = thread::spawn(|| on_each_cpu().unwrap_or_default());
    let _ = work.join();
}

/// A datagram from us to us on each CPU; returns on how many.
fn on_each_cpu() -> anyhow::Result<usize> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let to = socket.local_addr()?;
    let mut count = 0;
    for cpu in (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)) {
        let mut one = CpuSet::new();
        one.set(cpu)?;
        // One that is not there any more has nothing.
        if sched_setaffinity(this, &one).is_ok() {
            socket.send_to(&[0], to)?;
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_and_only_in_its_thread() {
        let before = sched_getaffinity(Pid::from_raw(0)).expect("CPUs");
        let allowed = (0..CpuSet::count())
            .filter(|cpu| before.is_set(*cpu) == Ok(true))
            .count();
        let sent = thread::spawn(on_each_cpu).join().expect("a thread");
        assert_eq!(sent.expect("loopback"), allowed);
        free();
        let after = sched_getaffinity(Pid::from_raw(0)).expect("CPUs");
        assert_eq!(before, after);
    }
}
