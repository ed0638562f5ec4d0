// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's resizable hash tables: readers under RCU, writers in any context.
//!
//! Two kinds of key, as the kernel's inlines want their parameters at compile time: an Ethernet address ([`ByMac`]), and
//! 16 bytes ([`ById`]). An item is freed a grace period after it was removed. Its value may be dropped in softirq.

use core::marker::PhantomData;
use core::ops::ControlFlow;
use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;

use super::bindings;
use super::rcu::{self, Guard};

/// A kind of key.
///
/// # Safety
///
/// The functions must do what their names say for tables made by `init`, whose nodes are `Node`s. `Node` must be what the
/// C functions of this kind take, and is the first field of an item.
pub(crate) unsafe trait Kind {
    /// The key.
    type Key: Copy;
    /// What C links: the head of the hash chain and the key.
    type Node;

    /// A node for a key.
    fn node(key: Self::Key) -> Self::Node;
    /// The key of a node.
    fn key(node: &Self::Node) -> Self::Key;
    /// Initialises a table in place.
    ///
    /// # Safety
    ///
    /// `ht` must be memory for a table that does not move.
    unsafe fn init(ht: *mut bindings::rhashtable) -> ffi::c_int;
    /// Finds a node, or null.
    ///
    /// # Safety
    ///
    /// `ht` must be initialised, and RCU held as long as the result is used.
    unsafe fn lookup(ht: *mut bindings::rhashtable, key: &Self::Key) -> *mut Self::Node;
    /// Inserts a node, or fails if its key is there.
    ///
    /// # Safety
    ///
    /// `ht` must be initialised, and `node` live until a grace period after it was removed.
    unsafe fn insert(ht: *mut bindings::rhashtable, node: *mut Self::Node) -> ffi::c_int;
    /// Removes a node; fails if it is not there.
    ///
    /// # Safety
    ///
    /// `ht` must be initialised, and `node` live.
    unsafe fn remove(ht: *mut bindings::rhashtable, node: *mut Self::Node) -> ffi::c_int;
}

/// Keyed by an Ethernet address in the low 48 bits.
pub(crate) struct ByMac;

// SAFETY: The functions of the `vnet_mac_table` family take `vnet_mac_node`s.
unsafe impl Kind for ByMac {
    type Key = u64;
    type Node = bindings::vnet_mac_node;

    fn node(key: u64) -> Self::Node {
        Self::Node {
            key,
            ..Self::Node::default()
        }
    }

    fn key(node: &Self::Node) -> u64 {
        node.key
    }

    unsafe fn init(ht: *mut bindings::rhashtable) -> ffi::c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_mac_table_init(ht) }
    }

    #[inline]
    unsafe fn lookup(ht: *mut bindings::rhashtable, key: &u64) -> *mut Self::Node {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_mac_table_lookup(ht, *key) }
    }

    unsafe fn insert(ht: *mut bindings::rhashtable, node: *mut Self::Node) -> ffi::c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_mac_table_insert(ht, node) }
    }

    unsafe fn remove(ht: *mut bindings::rhashtable, node: *mut Self::Node) -> ffi::c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_mac_table_remove(ht, node) }
    }
}

/// Keyed by 16 bytes.
pub(crate) struct ById;

// SAFETY: The functions of the `vnet_id_table` family take `vnet_id_node`s.
unsafe impl Kind for ById {
    type Key = [u8; 16];
    type Node = bindings::vnet_id_node;

    fn node(key: [u8; 16]) -> Self::Node {
        Self::Node {
            key,
            ..Self::Node::default()
        }
    }

    fn key(node: &Self::Node) -> [u8; 16] {
        node.key
    }

    unsafe fn init(ht: *mut bindings::rhashtable) -> ffi::c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_id_table_init(ht) }
    }

    #[inline]
    unsafe fn lookup(ht: *mut bindings::rhashtable, key: &[u8; 16]) -> *mut Self::Node {
        // SAFETY: By the caller's promise; the key has 16 bytes.
        unsafe { bindings::vnet_id_table_lookup(ht, key.as_ptr()) }
    }

    unsafe fn insert(ht: *mut bindings::rhashtable, node: *mut Self::Node) -> ffi::c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_id_table_insert(ht, node) }
    }

    unsafe fn remove(ht: *mut bindings::rhashtable, node: *mut Self::Node) -> ffi::c_int {
        // SAFETY: By the caller's promise.
        unsafe { bindings::vnet_id_table_remove(ht, node) }
    }
}

/// What is in a table: a key and a value.
#[repr(C)]
pub(crate) struct Item<K: Kind, V> {
    node: K::Node,
    value: V,
}

impl<K: Kind, V> Item<K, V> {
    /// The key.
    pub(crate) fn key(&self) -> K::Key {
        K::key(&self.node)
    }

    /// The value.
    #[inline]
    pub(crate) fn value(&self) -> &V {
        &self.value
    }
}

/// The table proper, shared by its owner and by walks that are under way.
#[pin_data(PinnedDrop)]
struct Inner<K: Kind, V> {
    #[pin]
    ht: Opaque<bindings::rhashtable>,
    items: PhantomData<(K, V)>,
}

// SAFETY: The C code locks; values are shared between CPUs and dropped on any.
unsafe impl<K: Kind, V: Send + Sync> Send for Inner<K, V> {}
// SAFETY: As above.
unsafe impl<K: Kind, V: Send + Sync> Sync for Inner<K, V> {}

impl<K: Kind, V> Inner<K, V> {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // SAFETY: The slot is memory for a table that does not move.
            ht <- Opaque::try_ffi_init(|slot| to_result(unsafe { K::init(slot) })),
            items: PhantomData,
        }? Error)
    }
}

#[pinned_drop]
impl<K: Kind, V> PinnedDrop for Inner<K, V> {
    fn drop(self: Pin<&mut Self>) {
        unsafe extern "C" fn free<K: Kind, V>(item: *mut ffi::c_void, _: *mut ffi::c_void) {
            if let Some(item) = NonNull::new(item.cast::<Item<K, V>>()) {
                // SAFETY: The table's items come from `insert`; nobody finds this one any more.
                unsafe { rcu::free(rcu::object_of(item)) };
            }
        }
        // SAFETY: Initialised by `new`; as this is the last reference, nobody uses it.
        unsafe {
            bindings::rhashtable_free_and_destroy(
                self.ht.get(),
                Some(free::<K, V>),
                core::ptr::null_mut(),
            )
        };
    }
}

/// A hash table.
pub(crate) struct Table<K: Kind, V>(Arc<Inner<K, V>>);

impl<K: Kind, V: Send + Sync> Table<K, V> {
    /// An empty table. Sleeps; so does dropping the last of a table and its walks.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Arc::pin_init(Inner::new(), GFP_KERNEL)?))
    }

    /// Finds an item.
    #[inline]
    pub(crate) fn get<'g>(&'g self, key: &K::Key, _guard: &'g Guard) -> Option<&'g Item<K, V>> {
        // SAFETY: The table is initialised, and RCU is held by the guard, which the result borrows.
        let node = unsafe { K::lookup(self.0.ht.get(), key) };
        // SAFETY: A node is the first field of an item, which lives as long as the guard.
        unsafe { node.cast::<Item<K, V>>().as_ref() }
    }

    /// Inserts an item; EEXIST if there is one with this key. Does not sleep.
    pub(crate) fn insert(&self, key: K::Key, value: V) -> Result {
        let item = Item::<K, V> {
            node: K::node(key),
            value,
        };
        let object = rcu::boxed(item, GFP_ATOMIC | __GFP_NOWARN)?;
        let item = rcu::value_of(object);
        // SAFETY: The item lives until `remove` or the table's end free it, a grace period later.
        let done = to_result(unsafe { K::insert(self.0.ht.get(), item.cast()) });
        if done.is_err() {
            // SAFETY: It did not get into the table.
            unsafe { rcu::free_now(object) };
        }
        done
    }

    /// Removes an item and tells whether it was there. It can be read as long as the guard is held.
    pub(crate) fn remove(&self, item: &Item<K, V>, _guard: &Guard) -> bool {
        let item = NonNull::from(item);
        // SAFETY: The item lives, as it is borrowed.
        let gone = unsafe { K::remove(self.0.ht.get(), item.as_ptr().cast()) } == 0;
        if gone {
            // SAFETY: One caller only removes it, and it was made by `insert`.
            unsafe { rcu::free(rcu::object_of(item)) };
        }
        gone
    }

    /// Begins a walk over all items.
    pub(crate) fn walk(&self, flags: kernel::alloc::Flags) -> Result<Walk<K, V>> {
        let table = self.0.clone();
        let iter = KBox::new(Opaque::uninit(), flags)?;
        // SAFETY: Both are initialised, respectively memory for an iterator that does not move.
        unsafe { bindings::rhashtable_walk_enter(table.ht.get(), iter.get()) };
        Ok(Walk { iter, table })
    }
}

/// How a part of a walk ended.
#[derive(Clone, Copy)]
pub(crate) struct Walked {
    /// All items were seen. Otherwise the visitor stopped it; the item that it stopped at comes again.
    pub(crate) done: bool,
    /// The table was resized meanwhile: items may come twice.
    pub(crate) resized: bool,
}

/// A walk that can be interrupted for any time. Items that are inserted meanwhile may be missed.
///
/// # Invariants
///
/// The iterator was entered into `table`.
pub(crate) struct Walk<K: Kind, V> {
    iter: KBox<Opaque<bindings::rhashtable_iter>>,
    table: Arc<Inner<K, V>>,
}

// SAFETY: An iterator is not bound to a thread.
unsafe impl<K: Kind, V: Send + Sync> Send for Walk<K, V> {}
// SAFETY: It is only used through `&mut`.
unsafe impl<K: Kind, V: Send + Sync> Sync for Walk<K, V> {}

impl<K: Kind, V> Walk<K, V> {
    /// Visits the next items, until the visitor breaks.
    pub(crate) fn visit(
        &mut self,
        mut visitor: impl FnMut(&Item<K, V>, &Guard) -> ControlFlow<()>,
    ) -> Walked {
        let iter = self.iter.get();
        let guard = rcu::read_lock();
        // SAFETY: Entered, by the type invariant; not started, as each visit stops it. It is started even if it fails, which
        // it does if the table was resized since the last visit.
        let mut resized = unsafe { bindings::rhashtable_walk_start_check(iter) } != 0;
        // SAFETY: Started.
        let mut next = unsafe { bindings::rhashtable_walk_peek(iter) };
        let done = loop {
            // The kernel returns errors as pointers into the last page.
            if (next as usize) >= usize::MAX - 4094 {
                // EAGAIN, the only one: resized. It goes on from the start of the new table.
                resized = true;
            } else {
                let Some(item) = NonNull::new(next.cast::<Item<K, V>>()) else {
                    break true;
                };
                // SAFETY: An item of the table, which RCU keeps as long as the guard is held.
                if visitor(unsafe { item.as_ref() }, &guard).is_break() {
                    break false;
                }
            }
            // SAFETY: Started.
            next = unsafe { bindings::rhashtable_walk_next(iter) };
        };
        // SAFETY: Started.
        unsafe { bindings::rhashtable_walk_stop(iter) };
        drop(guard);
        Walked { done, resized }
    }
}

impl<K: Kind, V> Drop for Walk<K, V> {
    fn drop(&mut self) {
        // SAFETY: Entered, by the type invariant; `table` is dropped after this.
        unsafe { bindings::rhashtable_walk_exit(self.iter.get()) };
        let _ = &self.table;
    }
}
