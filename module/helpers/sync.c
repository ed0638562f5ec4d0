// SPDX-License-Identifier: GPL-2.0-only
/* Locks, work, time, and what depends on where code runs. */
#include <linux/ipv6.h>
#include <linux/jiffies.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "helpers.h"

/* One function for each kind of lock: the lock validator tells kinds apart by where they are initialised. */
void vnet_fdb_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_sweep_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_remotes_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_varp_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_floods_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_recent_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_senders_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_window_lock_init(spinlock_t *lock)
{
	spin_lock_init(lock);
}

void vnet_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void vnet_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

void vnet_delayed_work_init(struct delayed_work *work, void (*func)(struct work_struct *))
{
	INIT_DELAYED_WORK(work, func);
}

void vnet_delayed_work_queue(struct delayed_work *work, unsigned long delay)
{
	queue_delayed_work(system_power_efficient_wq, work, delay);
}

void vnet_delayed_work_requeue(struct delayed_work *work, unsigned long delay)
{
	mod_delayed_work(system_power_efficient_wq, work, delay);
}

void vnet_cond_resched(void)
{
	cond_resched();
}

u64 vnet_now_ms(void)
{
	return ktime_to_ms(ktime_get_coarse());
}

void vnet_bh_disable(void)
{
	local_bh_disable();
}

void vnet_bh_enable(void)
{
	local_bh_enable();
}

bool vnet_has_ipv6(void)
{
	return IS_ENABLED(CONFIG_IPV6) && ipv6_mod_enabled();
}

unsigned int vnet_jiffies_to_msecs(unsigned long ticks)
{
	return jiffies_to_msecs(ticks);
}
