// SPDX-License-Identifier: GPL-2.0-only

//! Generic netlink: a family with its operations, requests, answers, dumps and notifications.

use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::str::CStr;

use super::bindings;
use super::net::Net;
use super::{CStatic, Refusal};

/// What an attribute must look like.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    kind: u8,
    range: (i16, i16),
    len: u16,
}

impl Policy {
    /// A number of 32 bits.
    pub(crate) const U32: Self = Self::of(bindings::NLA_U32);

    const fn of(kind: u32) -> Self {
        Self {
            kind: kind as u8,
            range: (0, 0),
            len: 0,
        }
    }

    /// Bytes, so many exactly.
    pub(crate) const fn exact(len: i16) -> Self {
        Self::binary(len, len)
    }

    /// Bytes, so many.
    pub(crate) const fn binary(min: i16, max: i16) -> Self {
        Self {
            range: (min, max),
            ..Self::of(bindings::NLA_BINARY)
        }
    }

    /// A text that ends in NUL, of so many bytes without it.
    pub(crate) const fn text(max: u16) -> Self {
        Self {
            len: max,
            ..Self::of(bindings::NLA_NUL_STRING)
        }
    }

    /// A number of 8 bits in a range.
    pub(crate) const fn u8(min: i16, max: i16) -> Self {
        Self {
            range: (min, max),
            ..Self::of(bindings::NLA_U8)
        }
    }

    /// A number of 16 bits, at least.
    pub(crate) const fn u16_min(min: i16) -> Self {
        Self {
            range: (min, i16::MIN),
            ..Self::of(bindings::NLA_U16)
        }
    }

    /// The policy as C wants it.
    pub(super) fn raw(self) -> bindings::nla_policy {
        let mut raw = bindings::nla_policy {
            type_: self.kind,
            len: self.len,
            ..Default::default()
        };
        if self.range != (0, 0) {
            let only_min = self.range.1 == i16::MIN;
            raw.validation_type = if only_min {
                bindings::nla_policy_validation_NLA_VALIDATE_MIN
            } else {
                bindings::nla_policy_validation_NLA_VALIDATE_RANGE
            } as u8;
            raw.__bindgen_anon_1.__bindgen_anon_1.min = self.range.0;
            raw.__bindgen_anon_1.__bindgen_anon_1.max = if only_min { 0 } else { self.range.1 };
        }
        raw
    }
}

/// An attribute of a request.
#[derive(Clone, Copy)]
pub(crate) struct Attr<'a>(&'a bindings::nlattr, &'a [u8]);

impl<'a> Attr<'a> {
    /// The attribute behind a pointer from C, if there is one.
    ///
    /// # Safety
    ///
    /// It must be null, or a validated attribute that lives as long as the result is used.
    pub(super) unsafe fn from_ptr(attr: *const bindings::nlattr) -> Option<Self> {
        // SAFETY: By the caller's promise.
        let header = unsafe { attr.as_ref() }?;
        let len = usize::from(header.nla_len).checked_sub(size_of::<bindings::nlattr>())?;
        // SAFETY: A validated attribute has its payload behind its header.
        let payload = unsafe { core::slice::from_raw_parts(attr.add(1).cast(), len) };
        Some(Self(header, payload))
    }

    /// Its payload, if it has so many bytes.
    pub(crate) fn bytes<const N: usize>(&self) -> Option<[u8; N]> {
        self.1.try_into().ok()
    }

    /// Takes a secret of so many bytes out of it: the request keeps zeros.
    pub(crate) fn take_secret<const N: usize>(&self) -> Option<[u8; N]> {
        let bytes = self.bytes()?;
        for byte in self.1 {
            // SAFETY: A byte of the request, whose packet belongs to netlink while it is handled, and which nobody but its handler reads.
            // Volatile, so that it is written although nobody reads it.
            unsafe { core::ptr::from_ref(byte).cast_mut().write_volatile(0) };
        }
        Some(bytes)
    }

    /// Its payload up to the first NUL.
    pub(crate) fn text(&self) -> &'a [u8] {
        self.1.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Where words about a failed request go.
pub(crate) struct Extack<'a>(
    Option<NonNull<bindings::netlink_ext_ack>>,
    PhantomData<&'a ()>,
);

impl<'a> Extack<'a> {
    /// Wraps what C passes, which may be null.
    ///
    /// # Safety
    ///
    /// It must be null or live as long as this.
    pub(super) unsafe fn from_ptr(extack: *mut bindings::netlink_ext_ack) -> Self {
        Self(NonNull::new(extack), PhantomData)
    }

    fn raw(&mut self) -> Option<&mut bindings::netlink_ext_ack> {
        // SAFETY: Alive, by the promise at `from_ptr`, and only used by this request.
        self.0.as_mut().map(|extack| unsafe { extack.as_mut() })
    }

    /// Sets the words.
    pub(crate) fn set(&mut self, text: &'static CStr) {
        if let Some(extack) = self.raw() {
            extack._msg = text.as_ptr().cast();
        }
    }

    /// Sets words that are made up now; they are cut off at 79 bytes.
    pub(crate) fn format(&mut self, text: fmt::Arguments<'_>) {
        struct Buffer<'a>(&'a mut [ffi::c_char; 80], usize);
        impl Write for Buffer<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    if let Some(place) = self.0.get_mut(..79).and_then(|b| b.get_mut(self.1)) {
                        *place = byte as ffi::c_char;
                        self.1 += 1;
                    }
                }
                Ok(())
            }
        }
        if let Some(extack) = self.raw() {
            extack._msg_buf = [0; 80];
            // Never fails: what does not fit is left out.
            let _ = Buffer(&mut extack._msg_buf, 0).write_fmt(text);
            extack._msg = extack._msg_buf.as_ptr();
        }
    }

    /// Says why something was refused.
    pub(crate) fn explain(&mut self, refusal: &Refusal) {
        match (refusal.text, refusal.number) {
            (Some(text), Some(number)) => self.format(fmt!("{text}: {number}")),
            (Some(text), None) => self.set(text),
            (None, _) => {}
        }
    }

    /// Names the attribute that is at fault.
    pub(crate) fn blame(&mut self, attr: Attr<'_>) {
        if let Some(extack) = self.raw() {
            extack.bad_attr = attr.0;
        }
    }

    /// Names the attribute that is missing.
    pub(crate) fn missing(&mut self, kind: u16) {
        if let Some(extack) = self.raw() {
            extack.miss_type = kind;
        }
    }
}

/// A request.
pub(crate) struct Request<'a, F: Family> {
    info: &'a bindings::genl_info,
    /// Where words about its failure go.
    pub(crate) extack: Extack<'a>,
    family: PhantomData<fn() -> F>,
}

impl<'a, F: Family> Request<'a, F> {
    /// Wraps what C passes.
    ///
    /// # Safety
    ///
    /// It must be a request to the family `F` that lives as long as this.
    unsafe fn from_ptr(info: *const bindings::genl_info) -> Self {
        // SAFETY: By the caller's promise.
        let info = unsafe { &*info };
        Self {
            info,
            // SAFETY: It lives as long as the request.
            extack: unsafe { Extack::from_ptr(info.extack) },
            family: PhantomData,
        }
    }

    /// The namespace that the request was made in.
    pub(crate) fn net(&self) -> Net {
        // SAFETY: The socket of who asks keeps it.
        unsafe { Net::from_ptr(self.info._net.net) }
    }

    /// An attribute, if it is there. `kind` must be within the operation's policy.
    pub(crate) fn attr(&self, kind: u16) -> Option<Attr<'a>> {
        if kind >= F::MAX_ATTRS {
            return None;
        }
        // SAFETY: C passes validated attributes, as many as the operation's policy has, which is `MAX_ATTRS`.
        unsafe { Attr::from_ptr(*self.info.attrs.add(usize::from(kind))) }
    }

    /// An attribute that must be there.
    pub(crate) fn required(&mut self, kind: u16) -> super::Result<Attr<'a>> {
        self.attr(kind).ok_or_else(|| {
            self.extack.missing(kind);
            Refusal::new(EINVAL, c"a required attribute is missing")
        })
    }

    /// An attribute of so many bytes that must be there.
    pub(crate) fn required_bytes<const N: usize>(&mut self, kind: u16) -> super::Result<[u8; N]> {
        let attr = self.required(kind)?;
        attr.bytes().ok_or_else(|| {
            self.extack.blame(attr);
            EINVAL.into()
        })
    }

    /// A number of 32 bits.
    pub(crate) fn u32(&self, kind: u16) -> Option<u32> {
        self.attr(kind)?.bytes().map(u32::from_ne_bytes)
    }

    /// A number of 16 bits.
    pub(crate) fn u16(&self, kind: u16) -> Option<u16> {
        self.attr(kind)?.bytes().map(u16::from_ne_bytes)
    }

    /// A number of 8 bits.
    pub(crate) fn u8(&self, kind: u16) -> Option<u8> {
        self.attr(kind)?.bytes().map(u8::from_ne_bytes)
    }

    /// Answers the request with one message.
    pub(crate) fn reply(
        &self,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result {
        let message =
            OwnMessage::build::<F>(self.info.snd_portid, self.info.snd_seq, command, fill)?;
        // SAFETY: The message is given away; the namespace lives.
        to_result(unsafe {
            bindings::vnet_genlmsg_unicast(
                self.net().as_ptr(),
                message.into_raw(),
                self.info.snd_portid,
            )
        })
    }
}

/// A message that is being filled.
pub(crate) struct Message<'a>(NonNull<bindings::sk_buff>, PhantomData<&'a mut ()>);

impl Message<'_> {
    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// EMSGSIZE if the message is full; so of all functions here.
    pub(crate) fn put(&mut self, kind: u16, bytes: &[u8]) -> Result {
        let len = ffi::c_int::try_from(bytes.len())?;
        // SAFETY: The message is being built by us; the bytes are there.
        to_result(unsafe {
            bindings::nla_put(
                self.0.as_ptr(),
                ffi::c_int::from(kind),
                len,
                bytes.as_ptr().cast(),
            )
        })
    }

    /// Adds a text, up to its first NUL, and a NUL.
    pub(crate) fn put_text(&mut self, kind: u16, text: &[u8]) -> Result {
        let mut buffer = [0_u8; 32];
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let end = text.len().checked_add(1).ok_or(EMSGSIZE)?;
        let place = buffer.get_mut(..end).ok_or(EMSGSIZE)?;
        place
            .get_mut(..text.len())
            .ok_or(EMSGSIZE)?
            .copy_from_slice(text);
        self.put(kind, place)
    }

    /// Adds a number.
    pub(crate) fn put_u8(&mut self, kind: u16, value: u8) -> Result {
        self.put(kind, &[value])
    }

    /// Adds a number.
    pub(crate) fn put_u16(&mut self, kind: u16, value: u16) -> Result {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds a number.
    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) -> Result {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds a number.
    pub(crate) fn put_u64(&mut self, kind: u16, value: u64) -> Result {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds attributes within an attribute.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self) -> Result) -> Result {
        // SAFETY: The message is being built by us.
        let start = unsafe { bindings::vnet_nest_start(self.0.as_ptr(), ffi::c_int::from(kind)) };
        if start.is_null() {
            return Err(EMSGSIZE);
        }
        // On failure the whole message is thrown away.
        fill(self)?;
        // SAFETY: The message is being built by us, and the nest begins at `start`.
        unsafe { bindings::vnet_nest_end(self.0.as_ptr(), start) };
        Ok(())
    }
}

/// A complete message.
///
/// # Invariants
///
/// Owns the packet that it is in.
struct OwnMessage(NonNull<bindings::sk_buff>);

impl OwnMessage {
    fn build<F: Family>(
        portid: u32,
        sequence: u32,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> Result<Self> {
        // SAFETY: A function without requirements but that it may sleep.
        let skb = NonNull::new(unsafe { bindings::vnet_genlmsg_new() }).ok_or(ENOMEM)?;
        // INVARIANT: Just made.
        let message = Self(skb);
        // SAFETY: The message is ours; the family is registered.
        let header = unsafe {
            bindings::genlmsg_put(
                skb.as_ptr(),
                portid,
                sequence,
                F::registration().family.get().cast(),
                0,
                command,
            )
        };
        if header.is_null() {
            return Err(EMSGSIZE);
        }
        fill(&mut Message(skb, PhantomData))?;
        // SAFETY: The message was begun at `header`.
        unsafe { bindings::vnet_genlmsg_end(skb.as_ptr(), header) };
        Ok(message)
    }

    fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for OwnMessage {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type invariant.
        unsafe { bindings::vnet_nlmsg_free(self.0.as_ptr()) };
    }
}

/// Tells the family's first multicast group in a namespace of a change.
pub(crate) fn notify<F: Family>(
    net: Net,
    command: u8,
    fill: impl FnOnce(&mut Message<'_>) -> Result,
) {
    notify_to::<F>(net, 0, command, fill);
}

/// Tells one of the family's multicast groups, by its position, of something. Under RTNL. What cannot be told is lost, as
/// always with netlink: listeners then get ENOBUFS and know, also when there was no memory to begin with.
pub(crate) fn notify_to<F: Family>(
    net: Net,
    group: u32,
    command: u8,
    fill: impl FnOnce(&mut Message<'_>) -> Result,
) {
    // A vnet can be made before the family is there, and is removed after it has gone, as the module is loaded and unloaded.
    if !F::registration().ready.load(Ordering::Acquire) {
        return;
    }
    let family = F::registration().family.get();
    match OwnMessage::build::<F>(0, 0, command, fill) {
        Ok(message) => {
            // SAFETY: The message is given away; family and namespace live.
            unsafe {
                bindings::vnet_genlmsg_multicast(
                    family.cast(),
                    net.as_ptr(),
                    message.into_raw(),
                    0,
                    group,
                )
            };
        }
        // SAFETY: Family and namespace live; that the group exists is checked.
        Err(_) => unsafe { bindings::vnet_genl_lost(family.cast(), net.as_ptr(), group) },
    }
}

/// A dump that is under way; its values are what it keeps from one part to the next.
pub(crate) trait Dump<F: Family>: Sized + 'static {
    /// Checks the request and begins. Sleeps.
    fn start(request: &mut Request<'_, F>) -> super::Result<Self>;
    /// Adds messages until `part` is full or there is no more.
    fn fill(&mut self, part: &mut Part<'_, F>) -> super::Result<()>;
}

/// A part of a dump that is being filled.
pub(crate) struct Part<'a, F: Family> {
    skb: NonNull<bindings::sk_buff>,
    cb: NonNull<bindings::netlink_callback>,
    filled: bool,
    lifetime: PhantomData<&'a mut ()>,
    family: PhantomData<fn() -> F>,
}

impl<F: Family> Part<'_, F> {
    /// The namespace that the dump was asked for in.
    pub(crate) fn net(&self) -> Net {
        // SAFETY: The socket of who asks keeps its namespace; C passes live objects.
        unsafe {
            let info = (*self.cb.as_ptr())
                .data
                .cast::<bindings::genl_dumpit_info>();
            Net::from_ptr((*info).info._net.net)
        }
    }

    /// Adds a message. False if the part is full, and the message is to come first in the next.
    pub(crate) fn add(
        &mut self,
        command: u8,
        fill: impl FnOnce(&mut Message<'_>) -> Result,
    ) -> bool {
        // SAFETY: C passes live objects; the message that is begun is ended or taken back.
        unsafe {
            let cb = &*self.cb.as_ptr();
            let header = bindings::genlmsg_put(
                self.skb.as_ptr(),
                vnet_portid(cb),
                (*cb.nlh).nlmsg_seq,
                F::registration().family.get().cast(),
                bindings::NLM_F_MULTI as ffi::c_int,
                command,
            );
            if header.is_null() {
                return false;
            }
            if fill(&mut Message(self.skb, PhantomData)).is_err() {
                bindings::vnet_genlmsg_cancel(self.skb.as_ptr(), header);
                return false;
            }
            bindings::vnet_dump_check_consistent(self.cb.as_ptr(), header);
            bindings::vnet_genlmsg_end(self.skb.as_ptr(), header);
        }
        self.filled = true;
        true
    }

    /// Tells who asks that what was sent may not be consistent: an entry twice, or left out.
    pub(crate) fn interrupted(&mut self) {
        // SAFETY: C passes a live object. The kernel sets the flag on messages whose number differs from the last.
        unsafe {
            let cb = self.cb.as_ptr();
            (*cb).seq = (*cb).seq.wrapping_add(1).max(1);
            if (*cb).prev_seq == 0 {
                (*cb).prev_seq = u32::MAX;
            }
        }
    }
}

/// The port of who asked for a dump.
///
/// # Safety
///
/// C must have passed `cb`.
unsafe fn vnet_portid(cb: &bindings::netlink_callback) -> u32 {
    // SAFETY: The request is there as long as the dump.
    unsafe { bindings::vnet_netlink_cb_portid(cb.skb) }
}

/// A family; one value of a type without content stands for each.
pub(crate) trait Family: Sized + 'static {
    /// The attributes that each operation's policy counts, from 0.
    const MAX_ATTRS: u16;

    /// The one place where C keeps its tables.
    fn registration() -> &'static FamilyStatic<Self>;
}

/// Most operations of a family.
const MAX_OPS: usize = 32;
/// Most attributes of an operation.
const MAX_POLICY: usize = 40;
/// Most multicast groups of a family.
const MAX_GROUPS: usize = 4;

/// What C needs to know of a [`Family`].
pub(crate) struct FamilyStatic<F> {
    family: CStatic<MaybeUninit<bindings::genl_family>>,
    ops: CStatic<MaybeUninit<[bindings::genl_split_ops; MAX_OPS]>>,
    policies: CStatic<MaybeUninit<[[bindings::nla_policy; MAX_POLICY]; MAX_OPS]>>,
    groups: CStatic<MaybeUninit<[bindings::genl_multicast_group; MAX_GROUPS]>>,
    /// Whether it can be used to send.
    ready: AtomicBool,
    type_: PhantomData<fn() -> F>,
}

/// One operation of a family.
pub(crate) struct Op {
    command: u8,
    flags: u32,
    callbacks: Callbacks,
    policy: &'static [(u16, Policy)],
}

#[derive(Clone, Copy)]
enum Callbacks {
    Do(unsafe extern "C" fn(*mut bindings::sk_buff, *mut bindings::genl_info) -> ffi::c_int),
    Dump {
        start: unsafe extern "C" fn(*mut bindings::netlink_callback) -> ffi::c_int,
        dumpit: unsafe extern "C" fn(
            *mut bindings::sk_buff,
            *mut bindings::netlink_callback,
        ) -> ffi::c_int,
        done: unsafe extern "C" fn(*mut bindings::netlink_callback) -> ffi::c_int,
    },
}

/// What an operation does with a request.
pub(crate) trait Handler<F: Family> {
    /// Does it. Process context, no locks.
    fn handle(request: &mut Request<'_, F>) -> super::Result<()>;
}

impl Op {
    /// Something that everybody may ask.
    pub(crate) const fn query<F: Family, H: Handler<F>>(
        command: u8,
        policy: &'static [(u16, Policy)],
    ) -> Self {
        Self {
            command,
            flags: bindings::GENL_CMD_CAP_DO | bindings::GENL_CMD_CAP_HASPOL,
            callbacks: Callbacks::Do(doit::<F, H>),
            policy,
        }
    }

    /// A change, which needs CAP_NET_ADMIN in the namespace.
    pub(crate) const fn change<F: Family, H: Handler<F>>(
        command: u8,
        policy: &'static [(u16, Policy)],
    ) -> Self {
        let op = Self::query::<F, H>(command, policy);
        Self {
            flags: op.flags | bindings::GENL_UNS_ADMIN_PERM,
            ..op
        }
    }

    /// A list.
    pub(crate) const fn dump<F: Family, D: Dump<F>>(
        command: u8,
        policy: &'static [(u16, Policy)],
    ) -> Self {
        Self {
            command,
            flags: bindings::GENL_CMD_CAP_DUMP | bindings::GENL_CMD_CAP_HASPOL,
            callbacks: Callbacks::Dump {
                start: start::<F, D>,
                dumpit: dumpit::<F, D>,
                done: done::<D>,
            },
            policy,
        }
    }
}

impl<F: Family> FamilyStatic<F> {
    /// Not registered yet.
    pub(crate) const fn new() -> Self {
        Self {
            family: CStatic::new(MaybeUninit::zeroed()),
            ops: CStatic::new(MaybeUninit::zeroed()),
            policies: CStatic::new(MaybeUninit::zeroed()),
            groups: CStatic::new(MaybeUninit::zeroed()),
            ready: AtomicBool::new(false),
            type_: PhantomData,
        }
    }

    /// Registers the family, with its multicast groups. `ops` are in the order of their commands.
    pub(crate) fn register(
        &'static self,
        name: &str,
        version: u8,
        groups: &[&str],
        ops: &[Op],
    ) -> Result<FamilyRegistration<F>> {
        fn copy(to: &mut [ffi::c_char], from: &str) {
            for (to, from) in to.iter_mut().zip(from.bytes()) {
                *to = from as ffi::c_char;
            }
        }
        if ops.len() > MAX_OPS
            || usize::from(F::MAX_ATTRS) > MAX_POLICY
            || groups.len() > MAX_GROUPS
        {
            return Err(EINVAL);
        }
        // SAFETY: Nobody else has the tables before they are registered. They are plain data for which zero is valid.
        unsafe {
            let raw_ops = &mut *self.ops.get().cast::<[bindings::genl_split_ops; MAX_OPS]>();
            let policies = &mut *self
                .policies
                .get()
                .cast::<[[bindings::nla_policy; MAX_POLICY]; MAX_OPS]>();
            for ((raw, policy), op) in raw_ops.iter_mut().zip(policies.iter_mut()).zip(ops) {
                for (kind, what) in op.policy {
                    *policy.get_mut(usize::from(*kind)).ok_or(EINVAL)? = what.raw();
                }
                raw.cmd = op.command;
                raw.flags = op.flags as u8;
                raw.policy = policy.as_ptr();
                raw.maxattr = u32::from(F::MAX_ATTRS) - 1;
                match op.callbacks {
                    Callbacks::Do(doit) => raw.__bindgen_anon_1.__bindgen_anon_1.doit = Some(doit),
                    Callbacks::Dump {
                        start,
                        dumpit,
                        done,
                    } => {
                        let dump = &mut raw.__bindgen_anon_1.__bindgen_anon_2;
                        dump.start = Some(start);
                        dump.dumpit = Some(dumpit);
                        dump.done = Some(done);
                    }
                }
            }
            let raw_groups = &mut *self
                .groups
                .get()
                .cast::<[bindings::genl_multicast_group; MAX_GROUPS]>();
            for (raw, group) in raw_groups.iter_mut().zip(groups) {
                copy(&mut raw.name, group);
            }
            let family = self.family.get().cast::<bindings::genl_family>();
            copy(&mut (*family).name, name);
            (*family).version = u32::from(version);
            (*family).set_netnsok(1);
            (*family).set_parallel_ops(1);
            (*family).split_ops = raw_ops.as_ptr();
            (*family).n_split_ops = ops.len() as u8;
            (*family).mcgrps = raw_groups.as_ptr();
            (*family).n_mcgrps = groups.len() as u8;
            (*family).module = bindings::vnet_this_module();
            to_result(bindings::genl_register_family(family))?;
        }
        self.ready.store(true, Ordering::Release);
        Ok(FamilyRegistration(PhantomData))
    }
}

/// As long as this is there, the family answers.
pub(crate) struct FamilyRegistration<F: Family>(PhantomData<fn() -> F>);

impl<F: Family> Drop for FamilyRegistration<F> {
    fn drop(&mut self) {
        // Who has seen it ready holds RTNL.
        F::registration().ready.store(false, Ordering::Release);
        drop(super::rtnl::lock());
        // SAFETY: Registered by `register`.
        unsafe { bindings::genl_unregister_family(F::registration().family.get().cast()) };
    }
}

fn answer<F: Family>(request: &mut Request<'_, F>, result: super::Result<()>) -> ffi::c_int {
    match result {
        Ok(()) => 0,
        Err(refusal) => {
            request.extack.explain(&refusal);
            refusal.error.to_errno()
        }
    }
}

unsafe extern "C" fn doit<F: Family, H: Handler<F>>(
    _: *mut bindings::sk_buff,
    info: *mut bindings::genl_info,
) -> ffi::c_int {
    // SAFETY: C passes a request to this family.
    let mut request = unsafe { Request::<F>::from_ptr(info) };
    let result = H::handle(&mut request);
    answer(&mut request, result)
}

/// The place where C lets a dump keep a pointer.
///
/// # Safety
///
/// C must have passed `cb`.
unsafe fn kept<D>(cb: *mut bindings::netlink_callback) -> *mut *mut D {
    // SAFETY: By the caller's promise; the place has room for six words.
    unsafe { (&raw mut (*cb).__bindgen_anon_1).cast() }
}

unsafe extern "C" fn start<F: Family, D: Dump<F>>(
    cb: *mut bindings::netlink_callback,
) -> ffi::c_int {
    // SAFETY: C passes a dump of this family.
    let mut request = unsafe {
        let info = (*cb).data.cast::<bindings::genl_dumpit_info>();
        Request::<F>::from_ptr(&raw const (*info).info)
    };
    let result = D::start(&mut request).and_then(|dump| Ok(KBox::new(dump, GFP_KERNEL)?));
    match result {
        Ok(dump) => {
            // SAFETY: The place is ours until `done`.
            unsafe { kept::<D>(cb).write(KBox::into_raw(dump)) };
            0
        }
        Err(refusal) => answer(&mut request, Err(refusal)),
    }
}

unsafe extern "C" fn dumpit<F: Family, D: Dump<F>>(
    skb: *mut bindings::sk_buff,
    cb: *mut bindings::netlink_callback,
) -> ffi::c_int {
    // SAFETY: C passes a dump that was started, and a message to fill.
    unsafe {
        let Some(dump) = (*kept::<D>(cb)).as_mut() else {
            return 0;
        };
        let mut part = Part::<F> {
            skb: NonNull::new_unchecked(skb),
            cb: NonNull::new_unchecked(cb),
            filled: false,
            lifetime: PhantomData,
            family: PhantomData,
        };
        match dump.fill(&mut part) {
            Ok(()) if part.filled => (*skb).len as ffi::c_int,
            Ok(()) => 0,
            Err(refusal) => refusal.error.to_errno(),
        }
    }
}

unsafe extern "C" fn done<D>(cb: *mut bindings::netlink_callback) -> ffi::c_int {
    // SAFETY: C calls this once for a dump that was started.
    unsafe {
        let dump = core::mem::replace(&mut *kept::<D>(cb), core::ptr::null_mut());
        if !dump.is_null() {
            drop(KBox::from_raw(dump));
        }
    }
    0
}
