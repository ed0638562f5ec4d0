// SPDX-License-Identifier: GPL-2.0-only

//! Network namespaces, and what a module keeps for each.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;

use super::bindings;
use super::netdev::{Device, KillList};
use super::rtnl::Rtnl;
use super::CStatic;

/// A network namespace.
///
/// Handed out only to what cannot outlive it: its own state, its devices, its sockets and requests in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Net(NonNull<bindings::net>);

// SAFETY: Only an address, which C is given back.
unsafe impl Send for Net {}
// SAFETY: As above.
unsafe impl Sync for Net {}

impl Net {
    /// The namespace behind a pointer from C.
    ///
    /// # Safety
    ///
    /// It must live as long as what it is given to.
    #[inline]
    pub(super) unsafe fn from_ptr(net: *mut bindings::net) -> Self {
        // SAFETY: C gives no null here.
        Self(unsafe { NonNull::new_unchecked(net) })
    }

    /// The namespace as C wants it.
    #[inline]
    pub(super) fn as_ptr(self) -> *mut bindings::net {
        self.0.as_ptr()
    }

    /// The number by which this namespace knows another one; one is given if there is none.
    pub(crate) fn id_of(self, other: Net) -> i32 {
        // SAFETY: Both live.
        unsafe { bindings::vnet_peernet2id_alloc(self.as_ptr(), other.as_ptr()) }
    }

    /// Whether it is the namespace that the system started with.
    pub(crate) fn is_initial(self) -> bool {
        // Only the address is looked at.
        self.as_ptr() == &raw mut bindings::init_net
    }
}

/// What a module keeps for each namespace.
pub(crate) trait PerNet: Sync + Sized {
    /// Makes it, when the namespace appears or the module is loaded.
    fn new(net: Net) -> Result<Self>;
    /// Has all devices go that belong to it. The namespace is about to disappear, or the module.
    fn kill_devices(&self, list: &mut KillList, rtnl: &mut Rtnl);
    /// Something happened to a device in the namespace.
    fn device_event(&self, event: DeviceEvent, device: &Device, rtnl: &mut Rtnl);
    /// Ends what it does by itself. All devices are gone, RTNL is not held. Sleeps.
    fn end(&self);
    /// The one place where C keeps its table and number.
    fn registration() -> &'static PerNetStatic<Self>;
}

/// What happened to a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceEvent {
    /// It came up.
    Up,
    /// It is about to disappear.
    Unregister,
}

/// What C needs to know of a [`PerNet`].
pub(crate) struct PerNetStatic<T> {
    id: AtomicU32,
    ops: CStatic<MaybeUninit<bindings::pernet_operations>>,
    notifier: CStatic<MaybeUninit<bindings::notifier_block>>,
    state: PhantomData<T>,
}

// SAFETY: The tables are C's once they are registered.
unsafe impl<T> Sync for PerNetStatic<T> {}

/// The area that C keeps for a namespace.
struct Area<T> {
    ready: bool,
    state: MaybeUninit<T>,
}

impl<T: PerNet + 'static> PerNetStatic<T> {
    /// Not registered yet.
    pub(crate) const fn new() -> Self {
        Self {
            id: AtomicU32::new(0),
            ops: CStatic::new(MaybeUninit::zeroed()),
            notifier: CStatic::new(MaybeUninit::zeroed()),
            state: PhantomData,
        }
    }

    fn area(&self, net: *mut bindings::net) -> *mut Area<T> {
        // SAFETY: C keeps an area of the size of `Area` for each namespace under this number.
        unsafe { bindings::vnet_net_generic(net, self.id.load(Ordering::Relaxed)) }.cast()
    }

    unsafe extern "C" fn init(net: *mut bindings::net) -> ffi::c_int {
        let area = T::registration().area(net);
        // SAFETY: The namespace lives longer than its state.
        match T::new(unsafe { Net::from_ptr(net) }) {
            Ok(state) => {
                // SAFETY: The area is ours; nobody uses it before `ready`.
                unsafe {
                    (*area).state.write(state);
                    (*area).ready = true;
                }
                0
            }
            Err(error) => error.to_errno(),
        }
    }

    unsafe extern "C" fn exit_rtnl(net: *mut bindings::net, list: *mut bindings::list_head) {
        // SAFETY: C holds RTNL, and there is no other token in this call.
        let (mut rtnl, mut list) = unsafe { (Rtnl::assume(), KillList::from_ptr(list)) };
        // SAFETY: The namespace is there until this returns.
        if let Some(state) = T::registration().get(unsafe { Net::from_ptr(net) }) {
            state.kill_devices(&mut list, &mut rtnl);
        }
    }

    unsafe extern "C" fn exit(net: *mut bindings::net) {
        // SAFETY: The namespace is there until this returns.
        if let Some(state) = T::registration().get(unsafe { Net::from_ptr(net) }) {
            state.end();
        }
        let area = T::registration().area(net);
        // SAFETY: All devices and sockets of the namespace are gone, hence all users of its state.
        unsafe {
            if core::mem::replace(&mut (*area).ready, false) {
                (*area).state.assume_init_drop();
            }
        }
    }

    unsafe extern "C" fn notify(
        _: *mut bindings::notifier_block,
        event: ffi::c_ulong,
        info: *mut ffi::c_void,
    ) -> ffi::c_int {
        let event = match event as bindings::netdev_cmd {
            bindings::netdev_cmd_NETDEV_UP => DeviceEvent::Up,
            bindings::netdev_cmd_NETDEV_UNREGISTER => DeviceEvent::Unregister,
            _ => return 0,
        };
        // SAFETY: C passes a live device under RTNL; there is no other token in this call.
        let (device, mut rtnl) = unsafe {
            let info = &*info.cast::<bindings::netdev_notifier_info>();
            (Device::from_ptr(info.dev), Rtnl::assume())
        };
        if let Some(state) = T::registration().get(device.net()) {
            state.device_event(event, &device, &mut rtnl);
        }
        0
    }

    /// The state of a namespace; none before it is made.
    pub(crate) fn get(&'static self, net: Net) -> Option<&'static T> {
        let area = self.area(net.as_ptr());
        // SAFETY: The area lives as long as the namespace, of which only what cannot outlive it has a `Net`.
        unsafe { (*area).ready.then(|| (*area).state.assume_init_ref()) }
    }

    /// Makes the state in all namespaces, now and to come.
    pub(crate) fn register(&'static self) -> Result<PerNetRegistration<T>> {
        // SAFETY: Nobody else has the tables before they are registered. They are plain data for which zero is valid.
        unsafe {
            let ops = self.ops.get().cast::<bindings::pernet_operations>();
            (*ops).init = Some(Self::init);
            (*ops).exit_rtnl = Some(Self::exit_rtnl);
            (*ops).exit = Some(Self::exit);
            (*ops).id = self.id.as_ptr();
            (*ops).size = size_of::<Area<T>>();
            to_result(bindings::register_pernet_subsys(ops))?;
        }
        let registration = PerNetRegistration(PhantomData);
        // SAFETY: As above.
        unsafe {
            let notifier = self.notifier.get().cast::<bindings::notifier_block>();
            (*notifier).notifier_call = Some(Self::notify);
            if let Err(error) = to_result(bindings::register_netdevice_notifier(notifier)) {
                bindings::unregister_pernet_subsys(self.ops.get().cast());
                core::mem::forget(registration);
                return Err(error);
            }
        }
        Ok(registration)
    }
}

/// As long as this is there, every namespace has its state.
pub(crate) struct PerNetRegistration<T: PerNet + 'static>(PhantomData<T>);

impl<T: PerNet + 'static> Drop for PerNetRegistration<T> {
    fn drop(&mut self) {
        let statics = T::registration();
        // SAFETY: Registered by `register`. The notifier goes first, as it looks for the state.
        unsafe {
            bindings::unregister_netdevice_notifier(statics.notifier.get().cast());
            bindings::unregister_pernet_subsys(statics.ops.get().cast());
        }
    }
}
