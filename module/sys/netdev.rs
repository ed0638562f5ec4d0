// SPDX-License-Identifier: GPL-2.0-only

//! Network devices: those of others, and those that the module makes.
//!
//! A driver's state lives in the private area of its device. It is put there before the device is registered, and dropped
//! when the device is freed, or when registering fails.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use vnet_core::{IfName, Mac};

use super::bindings;
use super::genl::{Attr, Extack};
use super::net::Net;
use super::rcu::{self, Guard};
use super::rtnl::Rtnl;
use super::skb::SkBuff;
use super::CStatic;

/// A network device.
///
/// Handed out only to what cannot outlive it: the driver's state in it, and calls from C that concern it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device(NonNull<bindings::net_device>);

// SAFETY: Only an address, which C is given back.
unsafe impl Send for Device {}
// SAFETY: As above.
unsafe impl Sync for Device {}

impl Device {
    /// The device behind a pointer from C.
    ///
    /// # Safety
    ///
    /// It must live as long as what it is given to.
    #[inline]
    pub(super) unsafe fn from_ptr(dev: *mut bindings::net_device) -> Self {
        // SAFETY: C gives no null here.
        Self(unsafe { NonNull::new_unchecked(dev) })
    }

    /// The device as C wants it.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut bindings::net_device {
        self.0.as_ptr()
    }

    /// The namespace that it is in now.
    pub(crate) fn net(&self) -> Net {
        // SAFETY: The device lives, and keeps its namespace.
        unsafe { Net::from_ptr(bindings::vnet_dev_net(self.as_ptr())) }
    }

    /// Whether it is in a namespace now.
    #[inline]
    pub(crate) fn is_in(&self, net: Net) -> bool {
        // SAFETY: The device lives; a word that may change at any time.
        let now = unsafe { core::ptr::read_volatile(&raw const (*self.as_ptr()).nd_net.net) };
        core::ptr::eq(now, net.as_ptr())
    }

    /// Its index in its namespace.
    pub(crate) fn index(&self) -> u32 {
        // SAFETY: The device lives.
        unsafe { (*self.as_ptr()).ifindex as u32 }
    }

    /// Its MTU.
    #[inline]
    pub(crate) fn mtu(&self) -> u32 {
        // SAFETY: The device lives; a word that may change at any time.
        unsafe { core::ptr::read_volatile(&raw const (*self.as_ptr()).mtu) }
    }

    /// Its name, padded with NUL.
    pub(crate) fn name(&self, _rtnl: &Rtnl) -> [u8; 16] {
        // SAFETY: The device lives, and RTNL keeps its name.
        unsafe { vnet_name(self.as_ptr()) }
    }

    /// Its own Ethernet address.
    #[inline]
    pub(crate) fn address(&self) -> Mac {
        // SAFETY: The device lives, and has an address of six bytes.
        Mac::from_bytes(unsafe { *(*self.as_ptr()).dev_addr.cast::<[u8; 6]>() })
    }

    /// Whether it is up.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        // SAFETY: The device lives; a word that may change at any time.
        let flags = unsafe { core::ptr::read_volatile(&raw const (*self.as_ptr()).flags) };
        flags & bindings::net_device_flags_IFF_UP != 0
    }

    /// Sets its MTU, as `ip link set mtu` does.
    pub(crate) fn change_mtu(&self, mtu: u32, _rtnl: &mut Rtnl) -> Result {
        let mtu = ffi::c_int::try_from(mtu)?;
        // SAFETY: The device lives, and RTNL is held.
        to_result(unsafe { bindings::dev_set_mtu(self.as_ptr(), mtu) })
    }
}

/// The name of a device, in an aligned copy.
///
/// # Safety
///
/// `dev` must live, and its name not change.
unsafe fn vnet_name(dev: *const bindings::net_device) -> [u8; 16] {
    // SAFETY: By the caller's promise; the name has 16 bytes.
    unsafe { (*dev).name }
}

/// The device with an index in a namespace.
pub(crate) fn by_index(net: Net, index: u32, _rtnl: &Rtnl) -> Option<Device> {
    let index = ffi::c_int::try_from(index).ok()?;
    // SAFETY: The namespace lives, and RTNL is held.
    NonNull::new(unsafe { bindings::__dev_get_by_index(net.as_ptr(), index) }).map(Device)
}

/// The device with a name in a namespace.
pub(crate) fn by_name(net: Net, name: &[u8], _rtnl: &Rtnl) -> Option<Device> {
    let mut buffer = [0_u8; 16];
    buffer
        .get_mut(..15)?
        .get_mut(..name.len())?
        .copy_from_slice(name);
    // SAFETY: The namespace lives, the name ends in NUL, and RTNL is held.
    NonNull::new(unsafe { bindings::__dev_get_by_name(net.as_ptr(), buffer.as_ptr().cast()) })
        .map(Device)
}

/// Devices that are about to be unregistered together.
pub(crate) struct KillList(*mut bindings::list_head);

impl KillList {
    /// Wraps a list of C's.
    ///
    /// # Safety
    ///
    /// It must be a list for `unregister_netdevice_many`, or null for devices to be unregistered one by one.
    pub(super) unsafe fn from_ptr(list: *mut bindings::list_head) -> Self {
        Self(list)
    }

    /// Adds a device that the module made.
    pub(crate) fn add<T: Driver>(&mut self, device: OwnDevice<T>, rtnl: &mut Rtnl) {
        // SAFETY: A device of the driver `T`.
        if let Some(state) = unsafe { Slot::<T>::state(device.device.as_ptr()) } {
            state.removed(rtnl);
        }
        // SAFETY: The device lives and is registered; RTNL is held.
        unsafe { bindings::unregister_netdevice_queue(device.device.as_ptr(), self.0) };
    }
}

/// Unregisters one device that the module made.
pub(crate) fn unregister<T: Driver>(device: OwnDevice<T>, rtnl: &mut Rtnl) {
    KillList(core::ptr::null_mut()).add(device, rtnl);
}

/// Where received packets wait for their CPU to go on with them.
///
/// # Invariants
///
/// Initialised as long as the device is registered.
#[repr(transparent)]
pub(crate) struct GroCells(bindings::gro_cells);

/// A device that the module made.
pub(crate) struct OwnDevice<T> {
    device: Device,
    driver: PhantomData<fn() -> T>,
}

impl<T> Clone for OwnDevice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OwnDevice<T> {}

impl<T> core::ops::Deref for OwnDevice<T> {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        &self.device
    }
}

impl<T: Driver> OwnDevice<T> {
    /// A device that may be the driver's; none if it is not.
    ///
    /// # Safety
    ///
    /// It must live as long as what it is given to.
    pub(super) unsafe fn from_raw(dev: NonNull<bindings::net_device>) -> Option<Self> {
        let ours = T::registration().device_ops.get().cast();
        // SAFETY: By the caller's promise.
        let is_ours = unsafe { core::ptr::eq((*dev.as_ptr()).netdev_ops, ours) };
        is_ours.then_some(Self {
            device: Device(dev),
            driver: PhantomData,
        })
    }

    /// The driver's state. The device must be registered.
    #[inline]
    pub(crate) fn state(&self) -> Option<&T> {
        // SAFETY: A device of the driver `T`.
        unsafe { Slot::<T>::state(self.device.as_ptr()) }
    }

    /// Counts and delivers a frame that has entered the device. False if it had to be dropped.
    #[inline(always)]
    pub(crate) fn deliver(&self, skb: SkBuff, _guard: &Guard) -> bool {
        let (device, len) = (self.device.as_ptr(), skb.len());
        // SAFETY: A device of the driver `T`, registered as RCU readers found it; the packet is given away.
        let kept = unsafe {
            let cells = &raw mut (*Slot::<T>::of(device)).cells;
            bindings::gro_cells_receive(cells.cast(), skb.into_raw()) == 0
        };
        if kept {
            // SAFETY: The device lives.
            unsafe { bindings::vnet_dstats_rx_add(device, len as u32) };
        }
        kept
    }

    /// Counts a received frame that was dropped.
    pub(crate) fn count_rx_dropped(&self) {
        // SAFETY: The device lives.
        unsafe { bindings::vnet_dstats_rx_dropped(self.device.as_ptr()) };
    }

    /// Counts a frame that was to be sent and was dropped.
    pub(crate) fn count_tx_dropped(&self) {
        // SAFETY: The device lives.
        unsafe { bindings::vnet_dstats_tx_dropped(self.device.as_ptr()) };
    }

    /// Packets that were lost below the device after they had been encapsulated.
    pub(crate) fn lost_below(&self) -> u64 {
        // SAFETY: The device lives.
        unsafe { bindings::vnet_dev_tx_lost(self.device.as_ptr()) }
    }

    /// Packets and bytes received and sent: rx packets, rx bytes, tx packets, tx bytes.
    pub(crate) fn traffic(&self) -> [u64; 4] {
        let mut stats = bindings::rtnl_link_stats64::default();
        // SAFETY: The device lives; the result has a place.
        unsafe { bindings::dev_get_stats(self.device.as_ptr(), &mut stats) };
        [
            stats.rx_packets,
            stats.rx_bytes,
            stats.tx_packets,
            stats.tx_bytes,
        ]
    }
}

/// The private area of a device.
#[repr(C)]
struct Slot<T> {
    cells: GroCells,
    ready: bool,
    state: MaybeUninit<T>,
}

impl<T: Driver> Slot<T> {
    /// The private area of a device.
    ///
    /// # Safety
    ///
    /// It must be a device of the driver `T`.
    #[inline]
    unsafe fn of(dev: *mut bindings::net_device) -> *mut Self {
        // SAFETY: By the caller's promise, `priv` has room for a slot.
        unsafe { (&raw mut (*dev).priv_).cast() }
    }

    /// The driver's state, if it is there.
    ///
    /// # Safety
    ///
    /// It must be a device of the driver `T` that lives as long as the result is used.
    #[inline]
    unsafe fn state<'a>(dev: *mut bindings::net_device) -> Option<&'a T> {
        // SAFETY: By the caller's promise.
        unsafe {
            let slot = Self::of(dev);
            (*slot).ready.then(|| &*(*slot).state.as_ptr())
        }
    }

    /// Drops the driver's state if it is there.
    unsafe extern "C" fn clear(dev: *mut bindings::net_device) {
        // SAFETY: C calls this for a device of the driver `T` that nobody uses any more.
        unsafe {
            let slot = Self::of(dev);
            if core::mem::replace(&mut (*slot).ready, false) {
                (*slot).state.assume_init_drop();
            }
        }
    }
}

/// The driver of a kind of device; its values are the state of one device.
pub(crate) trait Driver: Send + Sync + Sized + 'static {
    /// The kind, as in `ip link add type`.
    const KIND: &'static CStr;
    /// Smallest and largest MTU, in bytes.
    const MTU: (u32, u32);
    /// Bytes that it puts in front of a frame, outer headers included.
    const HEADROOM: u16;
    /// Number of the attribute, of 16 bytes, that tells what the device is.
    const ATTR_ID: u16;

    /// Sends a frame. Softirqs are off.
    fn transmit(&self, device: &OwnDevice<Self>, skb: SkBuff, guard: &Guard);
    /// Makes a device by the way of `ip link add`. Calls [`NewDevice::register`].
    fn link(
        device: NewDevice<Self>,
        home: Net,
        id: [u8; 16],
        mtu: Option<u32>,
        rtnl: &mut Rtnl,
    ) -> super::Result;
    /// The device is about to be unregistered. May be called twice.
    fn removed(&self, rtnl: &mut Rtnl);
    /// The MTU was changed.
    fn mtu_changed(&self, rtnl: &mut Rtnl);
    /// The namespace that it belongs to, wherever the device is.
    fn home(&self) -> Net;
    /// The value of the attribute.
    fn id(&self) -> [u8; 16];
    /// The one place where C keeps its tables.
    fn registration() -> &'static DriverStatic<Self>;
}

/// A device that is not registered yet.
pub(crate) struct NewDevice<T: Driver> {
    dev: *mut bindings::net_device,
    /// Whether it is to be freed if it does not get registered; otherwise C does that.
    owned: bool,
    driver: PhantomData<fn() -> T>,
}

impl<T: Driver> NewDevice<T> {
    /// A new device with this name. Sleeps.
    ///
    /// # Errors
    ///
    /// EEXIST if there is one with this name is only found out when it is registered.
    pub(crate) fn new(net: Net, name: &[u8; 16], _rtnl: &mut Rtnl) -> Result<Self> {
        const TB: usize = bindings::__IFLA_MAX as usize;
        let mut attributes = [core::ptr::null_mut(); TB];
        // SAFETY: RTNL is held, the name ends in NUL, no attribute is set.
        let dev = unsafe {
            bindings::rtnl_create_link(
                net.as_ptr(),
                name.as_ptr().cast(),
                bindings::NET_NAME_USER as u8,
                T::registration().link_ops.get().cast(),
                attributes.as_mut_ptr(),
                core::ptr::null_mut(),
            )
        };
        if (dev as usize) >= usize::MAX - 4094 {
            return Err(Error::from_errno(dev as isize as i32));
        }
        Ok(Self {
            dev,
            owned: true,
            driver: PhantomData,
        })
    }

    /// The device that it is going to be.
    pub(crate) fn device(&self) -> OwnDevice<T> {
        OwnDevice {
            // SAFETY: What is made of it is dropped with the device.
            device: unsafe { Device::from_ptr(self.dev) },
            driver: PhantomData,
        }
    }

    /// Sets the MTU that it begins with.
    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        // SAFETY: Not registered: ours alone.
        unsafe { (*self.dev).mtu = mtu };
    }

    /// Puts the state into it and registers it. Sleeps.
    pub(crate) fn register(mut self, state: T, _rtnl: &mut Rtnl) -> Result<OwnDevice<T>> {
        // SAFETY: Not registered: ours alone. C drops the state with the device, or `Drop` does.
        unsafe {
            let slot = Slot::<T>::of(self.dev);
            (*slot).state.write(state);
            (*slot).ready = true;
            (*self.dev).priv_destructor = Some(Slot::<T>::clear);
            to_result(bindings::register_netdevice(self.dev))?;
            let device = self.device();
            let was_owned = core::mem::replace(&mut self.owned, false);
            self.dev = core::ptr::null_mut();
            if was_owned {
                // Tells user space of the device; the way of `ip link add` does so itself.
                bindings::rtnl_configure_link(
                    device.as_ptr(),
                    core::ptr::null(),
                    0,
                    core::ptr::null(),
                );
            }
            Ok(device)
        }
    }
}

impl<T: Driver> Drop for NewDevice<T> {
    fn drop(&mut self) {
        if self.dev.is_null() {
            return;
        }
        // SAFETY: Not registered, hence ours alone; the destructor may have run, and then finds nothing.
        unsafe {
            Slot::<T>::clear(self.dev);
            if self.owned {
                bindings::free_netdev(self.dev);
            }
        }
    }
}

/// What C needs to know of a [`Driver`].
pub(crate) struct DriverStatic<T> {
    link_ops: CStatic<MaybeUninit<bindings::rtnl_link_ops>>,
    device_ops: CStatic<MaybeUninit<bindings::net_device_ops>>,
    policy: CStatic<MaybeUninit<[bindings::nla_policy; 2]>>,
    driver: PhantomData<fn() -> T>,
}

impl<T: Driver> DriverStatic<T> {
    /// Not registered yet.
    pub(crate) const fn new() -> Self {
        Self {
            link_ops: CStatic::new(MaybeUninit::zeroed()),
            device_ops: CStatic::new(MaybeUninit::zeroed()),
            policy: CStatic::new(MaybeUninit::zeroed()),
            driver: PhantomData,
        }
    }

    /// Makes the kind known. The tables must not be registered yet.
    pub(crate) fn register(&'static self) -> Result<DriverRegistration<T>> {
        // SAFETY: Nobody else has the tables before they are registered. They are plain data for which zero is valid.
        unsafe {
            let device_ops = self.device_ops.get().cast::<bindings::net_device_ops>();
            (*device_ops).ndo_init = Some(init::<T>);
            (*device_ops).ndo_uninit = Some(uninit::<T>);
            (*device_ops).ndo_start_xmit = Some(start_xmit::<T>);
            (*device_ops).ndo_set_mac_address = Some(bindings::eth_mac_addr);
            (*device_ops).ndo_validate_addr = Some(bindings::eth_validate_addr);
            (*device_ops).ndo_change_mtu = Some(change_mtu::<T>);
            (*device_ops).ndo_set_rx_mode = Some(set_rx_mode);

            let policy = self.policy.get().cast::<[bindings::nla_policy; 2]>();
            (*policy)[1] = super::genl::Policy::exact(16).raw();

            let link_ops = self.link_ops.get().cast::<bindings::rtnl_link_ops>();
            (*link_ops).kind = T::KIND.as_ptr().cast();
            (*link_ops).priv_size = size_of::<Slot<T>>();
            (*link_ops).setup = Some(setup::<T>);
            (*link_ops).maxtype = 1;
            (*link_ops).policy = policy.cast();
            (*link_ops).newlink = Some(newlink::<T>);
            (*link_ops).dellink = Some(dellink::<T>);
            (*link_ops).get_size = Some(get_size);
            (*link_ops).fill_info = Some(fill_info::<T>);
            (*link_ops).get_link_net = Some(get_link_net::<T>);
            to_result(bindings::rtnl_link_register(link_ops))?;
        }
        Ok(DriverRegistration(PhantomData))
    }
}

/// As long as this is there, devices of the kind can be made. Dropping it removes all there are.
pub(crate) struct DriverRegistration<T: Driver>(PhantomData<fn() -> T>);

impl<T: Driver> Drop for DriverRegistration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`.
        unsafe { bindings::rtnl_link_unregister(T::registration().link_ops.get().cast()) };
    }
}

unsafe extern "C" fn setup<T: Driver>(dev: *mut bindings::net_device) {
    // SAFETY: C passes a new device with a zeroed private area.
    unsafe {
        bindings::ether_setup(dev);
        bindings::vnet_netdev_init(dev);
        (*dev).netdev_ops = T::registration().device_ops.get().cast();
        (*dev).min_mtu = T::MTU.0;
        (*dev).max_mtu = T::MTU.1;
        (*dev).needed_headroom = T::HEADROOM;
    }
}

unsafe extern "C" fn init<T: Driver>(dev: *mut bindings::net_device) -> ffi::c_int {
    // SAFETY: C passes a device of the driver `T` that is being registered.
    unsafe {
        bindings::vnet_netdev_lockdep_set_classes(dev);
        bindings::gro_cells_init((&raw mut (*Slot::<T>::of(dev)).cells).cast(), dev)
    }
}

unsafe extern "C" fn uninit<T: Driver>(dev: *mut bindings::net_device) {
    // SAFETY: C passes a device of the driver `T` that was initialised, and that no RCU reader finds any more.
    unsafe { bindings::gro_cells_destroy((&raw mut (*Slot::<T>::of(dev)).cells).cast()) };
}

unsafe extern "C" fn start_xmit<T: Driver>(
    skb: *mut bindings::sk_buff,
    dev: *mut bindings::net_device,
) -> bindings::netdev_tx_t {
    let guard = rcu::read_lock();
    // SAFETY: C passes a device of the driver `T` and gives the packet away, as OK is returned.
    unsafe {
        if let Some(skb) = NonNull::new(skb).map(|skb| SkBuff::from_raw(skb)) {
            let device = OwnDevice {
                device: Device::from_ptr(dev),
                driver: PhantomData,
            };
            if let Some(state) = Slot::<T>::state(dev) {
                state.transmit(&device, skb, &guard);
            }
        }
    }
    bindings::netdev_tx_NETDEV_TX_OK
}

unsafe extern "C" fn change_mtu<T: Driver>(
    dev: *mut bindings::net_device,
    mtu: ffi::c_int,
) -> ffi::c_int {
    // SAFETY: C passes a device of the driver `T`, under RTNL, and has checked the range. There is no token in this call:
    // `change_mtu` lends its own.
    unsafe {
        core::ptr::write_volatile(&raw mut (*dev).mtu, mtu as ffi::c_uint);
        if let Some(state) = Slot::<T>::state(dev) {
            state.mtu_changed(&mut Rtnl::assume());
        }
    }
    0
}

/// Group addresses need no filter: everything that comes in is delivered.
unsafe extern "C" fn set_rx_mode(_: *mut bindings::net_device) {}

unsafe extern "C" fn newlink<T: Driver>(
    dev: *mut bindings::net_device,
    params: *mut bindings::rtnl_newlink_params,
    extack: *mut bindings::netlink_ext_ack,
) -> ffi::c_int {
    // SAFETY: C passes what concerns a new device of the driver `T`, under RTNL; there is no other token in this call.
    let (device, home, data, mtu, mut extack, mut rtnl) = unsafe {
        let params = &*params;
        let home = if params.link_net.is_null() {
            params.src_net
        } else {
            params.link_net
        };
        (
            NewDevice::<T> {
                dev,
                owned: false,
                driver: PhantomData,
            },
            Net::from_ptr(home),
            params.data,
            // C has set it already, if it was given.
            (!(*params.tb.add(bindings::IFLA_MTU as usize)).is_null()).then(|| (*dev).mtu),
            Extack::from_ptr(extack),
            Rtnl::assume(),
        )
    };
    let id = if data.is_null() {
        None
    } else {
        // SAFETY: C passes an array up to `maxtype`, which is 1, of attributes that obey the policy.
        unsafe { Attr::from_ptr(*data.add(usize::from(T::ATTR_ID))) }
    };
    let Some(id) = id.and_then(|id| id.bytes::<16>()) else {
        extack.set(c"an id is needed; make vnets with 'vn net create'");
        return EINVAL.to_errno();
    };
    match T::link(device, home, id, mtu, &mut rtnl) {
        Ok(()) => 0,
        Err(refusal) => {
            extack.explain(&refusal);
            refusal.error.to_errno()
        }
    }
}

unsafe extern "C" fn dellink<T: Driver>(
    dev: *mut bindings::net_device,
    list: *mut bindings::list_head,
) {
    // SAFETY: C passes a device of the driver `T`, under RTNL; there is no other token in this call.
    unsafe {
        let device = OwnDevice::<T> {
            device: Device::from_ptr(dev),
            driver: PhantomData,
        };
        KillList::from_ptr(list).add(device, &mut Rtnl::assume());
    }
}

unsafe extern "C" fn get_size(_: *const bindings::net_device) -> usize {
    // An attribute of 16 bytes.
    20
}

unsafe extern "C" fn fill_info<T: Driver>(
    skb: *mut bindings::sk_buff,
    dev: *const bindings::net_device,
) -> ffi::c_int {
    // SAFETY: C passes a message that is being built, and a live device of the driver `T`.
    unsafe {
        match Slot::<T>::state(dev.cast_mut()) {
            Some(state) => {
                let id = state.id();
                bindings::nla_put(
                    skb,
                    ffi::c_int::from(T::ATTR_ID),
                    id.len() as ffi::c_int,
                    id.as_ptr().cast(),
                )
            }
            None => 0,
        }
    }
}

unsafe extern "C" fn get_link_net<T: Driver>(
    dev: *const bindings::net_device,
) -> *mut bindings::net {
    // SAFETY: C passes a live device of the driver `T`.
    unsafe {
        match Slot::<T>::state(dev.cast_mut()) {
            Some(state) => state.home().as_ptr(),
            None => bindings::vnet_dev_net(dev),
        }
    }
}

/// A name as devices have it.
pub(crate) fn padded(name: &IfName) -> [u8; 16] {
    *name.as_padded()
}
