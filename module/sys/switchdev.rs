// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's bridges learn and forget.
//!
//! Bridges tell those who offload them. We only listen, to know at once which addresses are behind a bridge's ports.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use vnet_core::Mac;

use super::netdev::{Driver, OwnDevice};
use super::rcu::{self, Guard};
use super::{bindings, CStatic};

/// A driver whose devices are ports of bridges.
pub(crate) trait BridgePort: Driver {
    /// The bridge of a device has learned a MAC address behind another of its ports, or forgotten it (`gone`). In
    /// softirq, with a lock of the bridge held: nothing may be sent.
    fn bridge_learned(&self, mac: Mac, gone: bool, guard: &Guard);

    /// The one place where C keeps the table.
    fn listener() -> &'static ListenerStatic<Self>;
}

/// What C keeps of a listener.
pub(crate) struct ListenerStatic<T: BridgePort> {
    notifier: CStatic<MaybeUninit<bindings::notifier_block>>,
    driver: PhantomData<fn() -> T>,
}

/// An address, and for whom it is meant.
struct Learned<'a> {
    mac: Mac,
    gone: bool,
    port: *mut bindings::net_device,
    bridge: *mut bindings::net_device,
    vid: u16,
    guard: &'a Guard,
}

impl<T: BridgePort> ListenerStatic<T> {
    /// Not registered yet.
    pub(crate) const fn new() -> Self {
        Self {
            notifier: CStatic::new(MaybeUninit::zeroed()),
            driver: PhantomData,
        }
    }

    /// Listens.
    pub(crate) fn register(&'static self) -> Result<Listener<T>> {
        let notifier = self.notifier.get().cast::<bindings::notifier_block>();
        // SAFETY: Nobody else has the table before it is registered.
        unsafe {
            (*notifier).notifier_call = Some(Self::notify);
            to_result(bindings::vnet_switchdev_register(notifier))?;
        }
        Ok(Listener(PhantomData))
    }

    unsafe extern "C" fn notify(
        _: *mut bindings::notifier_block,
        event: ffi::c_ulong,
        info: *mut ffi::c_void,
    ) -> ffi::c_int {
        let guard = rcu::read_lock();
        let mut raw = bindings::vnet_bridge_mac::default();
        // SAFETY: C passes what belongs to the event; RCU is held.
        if unsafe { bindings::vnet_switchdev_info(event, info, &mut raw) } {
            let learned = Learned {
                mac: Mac::from_bytes(raw.addr),
                gone: raw.gone,
                port: raw.port,
                bridge: raw.bridge,
                vid: raw.vid,
                guard: &guard,
            };
            // SAFETY: The bridge lives as long as RCU is held; the callback knows what it is given.
            unsafe {
                bindings::vnet_for_each_lower(
                    raw.bridge,
                    Some(Self::port),
                    (&raw const learned).cast_mut().cast(),
                )
            };
        }
        0
    }

    unsafe extern "C" fn port(
        dev: *mut bindings::net_device,
        learned: *mut ffi::c_void,
    ) -> ffi::c_int {
        // SAFETY: What `notify` passes.
        let learned = unsafe { &*learned.cast::<Learned<'_>>() };
        // What is below a port of the bridge is not a port of it. An address in a VLAN that our port is not in is not
        // one of ours.
        // SAFETY: Both live as long as RCU is held.
        let is_port = unsafe { bindings::vnet_is_port_of(dev, learned.bridge, learned.vid) };
        if dev == learned.port || !is_port {
            return 0;
        }
        // SAFETY: The device lives as long as RCU is held.
        let device = NonNull::new(dev).and_then(|dev| unsafe { OwnDevice::<T>::from_raw(dev) });
        if let Some(state) = device.as_ref().and_then(OwnDevice::state) {
            state.bridge_learned(learned.mac, learned.gone, learned.guard);
        }
        0
    }
}

/// As long as this is there, the driver is told.
pub(crate) struct Listener<T: BridgePort>(PhantomData<fn() -> T>);

impl<T: BridgePort> Drop for Listener<T> {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`.
        unsafe { bindings::vnet_switchdev_unregister(T::listener().notifier.get().cast()) };
    }
}
