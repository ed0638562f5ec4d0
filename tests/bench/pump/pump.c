// SPDX-License-Identifier: GPL-2.0-only
/*
 * vnet_pump: a sender in the kernel, and a receiver that drops, for the benchmark.
 *
 * What is written to /proc/vnet_pump is one command, in the network namespace of who writes it:
 *
 *	sink NAME		what arrives at the device is counted and dropped, before any protocol sees it
 *	unsink			no device is a sink any more
 *	run KEY=VALUE ...	sends frames; the write returns when it is done
 *
 *	how=tx			frames are given to the device to be sent, as a socket or a bridge would
 *	how=rx			frames are received by the device, through GRO, as a driver with NAPI would
 *	dev=NAME		the device; with devs=N the N devices NAME0, NAME1 ..., in turn
 *	frame=HEX		the frame, with its Ethernet header if the device has one
 *	packets=N chunk=N	how many frames, and how many of them are timed together
 *	burst=N			how many go with softirqs off, as in one poll of a driver
 *	room=N			received with this much room in front besides what every driver leaves (NET_SKB_PAD)
 *	vary=AT:WIDTH:COUNT	the WIDTH bytes at AT take COUNT values in turn, from the frame's own upwards; as often as needed
 *	wait=1			after each burst, wait until the sinks have got as many, for 5 s at most
 *
 * What is read back is "sent arrived ns median least cycles": the last three are of a chunk, nanoseconds and the time stamp
 * counter's.
 */
#include <linux/etherdevice.h>
#include <linux/hex.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/proc_fs.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/sort.h>
#include <linux/timex.h>
#include <linux/uaccess.h>
#include <net/gro.h>
#include <net/net_namespace.h>

#define FRAME_MAX	2048
#define COMMAND_MAX	(2 * FRAME_MAX + 1024)
#define VARIES		4
#define CHUNKS_MAX	100000
#define DEVICES_MAX	8192
/* Neighbours in time are to be no neighbours in memory. */
#define STRIDE		2654435761UL

struct vary {
	unsigned int at, width, count;
	u64 first;
};

struct run {
	bool receive, wait;
	char name[IFNAMSIZ];
	unsigned int numbered, devices, packets, chunk, burst, room, len, varies;
	struct net_device **device;
	struct vary vary[VARIES];
	u8 frame[FRAME_MAX];
};

static DEFINE_MUTEX(pump_lock);
static struct proc_dir_entry *pump_file;
static struct net_device *pump_device;
static struct napi_struct pump_napi;
static atomic64_t arrived;
static char result[160];

/* ---- sinks ---- */

static rx_handler_result_t drop(struct sk_buff **skb)
{
	atomic64_inc(&arrived);
	consume_skb(*skb);
	return RX_HANDLER_CONSUMED;
}

static bool is_sink(struct net_device *dev)
{
	return rtnl_dereference(dev->rx_handler) == drop;
}

static int add_sink(const char *name)
{
	struct net_device *dev;
	int err = -ENODEV;

	rtnl_lock();
	dev = __dev_get_by_name(current->nsproxy->net_ns, name);
	if (dev)
		err = is_sink(dev) ? 0 : netdev_rx_handler_register(dev, drop, NULL);
	rtnl_unlock();
	return err;
}

static void remove_sinks(void)
{
	struct net_device *dev;
	struct net *net;

	down_read(&net_rwsem);
	rtnl_lock();
	for_each_net(net)
		for_each_netdev(net, dev)
			if (is_sink(dev))
				netdev_rx_handler_unregister(dev);
	rtnl_unlock();
	up_read(&net_rwsem);
}

static int on_device(struct notifier_block *block, unsigned long event, void *ptr)
{
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);

	if (event == NETDEV_UNREGISTER && is_sink(dev))
		netdev_rx_handler_unregister(dev);
	return NOTIFY_DONE;
}

static struct notifier_block pump_notifier = { .notifier_call = on_device };

/* ---- sending ---- */

static void fill(const struct run *run, struct sk_buff *skb, u64 number)
{
	u8 *bytes = skb_put_data(skb, run->frame, run->len);
	unsigned int i, j;

	for (i = 0; i < run->varies; i++) {
		const struct vary *vary = &run->vary[i];
		u64 value = vary->first + (number * STRIDE) % vary->count;

		for (j = vary->width; j > 0; j--, value >>= 8)
			bytes[vary->at + j - 1] = value;
	}
}

static struct net_device *device_of(const struct run *run, u64 number)
{
	return run->device[run->devices == 1 ? 0 : number % run->devices];
}

static int send(const struct run *run, u64 number)
{
	struct net_device *dev = device_of(run, number);
	struct sk_buff *skb = alloc_skb(LL_RESERVED_SPACE(dev) + run->len + dev->needed_tailroom, GFP_ATOMIC);

	if (!skb)
		return -ENOMEM;
	skb_reserve(skb, LL_RESERVED_SPACE(dev));
	fill(run, skb, number);
	skb->dev = dev;
	skb_reset_mac_header(skb);
	if (dev->type == ARPHRD_ETHER) {
		skb->protocol = eth_hdr(skb)->h_proto;
		skb_set_network_header(skb, ETH_HLEN);
	} else {
		skb->protocol = htons(ETH_P_IP);
		skb_reset_network_header(skb);
	}
	dev_queue_xmit(skb);
	return 0;
}

static int receive(const struct run *run, u64 number)
{
	struct net_device *dev = device_of(run, number);
	struct sk_buff *skb = netdev_alloc_skb_ip_align(dev, run->room + run->len);

	if (!skb)
		return -ENOMEM;
	skb_reserve(skb, run->room);
	fill(run, skb, number);
	skb->protocol = eth_type_trans(skb, dev);
	/* As from a network card that has looked at the outer checksum. */
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	napi_gro_receive(&pump_napi, skb);
	return 0;
}

static int burst(const struct run *run, u64 number, unsigned int count)
{
	unsigned int i;
	int err = 0;

	local_bh_disable();
	if (run->receive && !napi_schedule_prep(&pump_napi)) {
		local_bh_enable();
		return -EBUSY;
	}
	for (i = 0; i < count && !err; i++)
		err = run->receive ? receive(run, number + i) : send(run, number + i);
	if (run->receive)
		napi_complete_done(&pump_napi, count);
	local_bh_enable();
	return err;
}

static int await(u64 expected)
{
	ktime_t end = ktime_add_ms(ktime_get(), 5000);

	while (atomic64_read(&arrived) < expected) {
		if (ktime_after(ktime_get(), end))
			return -ETIMEDOUT;
		schedule();
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static int go(const struct run *run)
{
	unsigned int chunks = run->packets / run->chunk, c, i, n;
	u64 *ns, *cycles, number = 0, before, all;
	cycles_t stamp;
	int err = 0;

	ns = kvcalloc(chunks, sizeof(*ns), GFP_KERNEL);
	cycles = kvcalloc(chunks, sizeof(*cycles), GFP_KERNEL);
	if (!ns || !cycles) {
		err = -ENOMEM;
		goto out;
	}
	before = atomic64_read(&arrived);
	all = ktime_get_ns();
	for (c = 0; c < chunks && !err; c++) {
		ns[c] = ktime_get_ns();
		stamp = get_cycles();
		for (i = 0; i < run->chunk && !err; i += n) {
			n = min(run->burst, run->chunk - i);
			err = burst(run, number, n);
			number += n;
			if (!err && run->wait)
				err = await(before + number);
		}
		cycles[c] = get_cycles() - stamp;
		ns[c] = ktime_get_ns() - ns[c];
		cond_resched();
		if (signal_pending(current))
			err = -EINTR;
	}
	all = ktime_get_ns() - all;
	if (!err) {
		sort(ns, chunks, sizeof(*ns), compare, NULL);
		sort(cycles, chunks, sizeof(*cycles), compare, NULL);
		snprintf(result, sizeof(result), "%llu %llu %llu %llu %llu %llu\n", number, atomic64_read(&arrived) - before, all,
			 ns[chunks / 2], ns[0], cycles[chunks / 2]);
	}
out:
	kvfree(ns);
	kvfree(cycles);
	return err;
}

/* ---- commands ---- */

static int set_vary(struct run *run, const char *text)
{
	struct vary *vary = &run->vary[run->varies];

	if (run->varies == VARIES || sscanf(text, "%u:%u:%u", &vary->at, &vary->width, &vary->count) != 3)
		return -EINVAL;
	if (!vary->count || !vary->width || vary->width > 8)
		return -ERANGE;
	run->varies++;
	return 0;
}

static int set(struct run *run, char *word)
{
	char *key = strsep(&word, "=");
	size_t len;

	if (!word)
		return -EINVAL;
	if (!strcmp(key, "dev"))
		return strscpy(run->name, word, sizeof(run->name)) < 0 ? -EINVAL : 0;
	if (!strcmp(key, "frame")) {
		len = strlen(word);
		if (len % 2 || len / 2 > FRAME_MAX)
			return -EINVAL;
		run->len = len / 2;
		return hex2bin(run->frame, word, run->len);
	}
	if (!strcmp(key, "how")) {
		run->receive = !strcmp(word, "rx");
		return run->receive || !strcmp(word, "tx") ? 0 : -EINVAL;
	}
	if (!strcmp(key, "vary"))
		return set_vary(run, word);
	if (!strcmp(key, "wait"))
		return kstrtobool(word, &run->wait);
	if (!strcmp(key, "devs"))
		return kstrtouint(word, 0, &run->numbered);
	if (!strcmp(key, "packets"))
		return kstrtouint(word, 0, &run->packets);
	if (!strcmp(key, "chunk"))
		return kstrtouint(word, 0, &run->chunk);
	if (!strcmp(key, "room"))
		return kstrtouint(word, 0, &run->room);
	if (!strcmp(key, "burst"))
		return kstrtouint(word, 0, &run->burst);
	return -EINVAL;
}

/* Whether the run can be carried out; where the varied bytes begin. */
static int check(struct run *run)
{
	unsigned int i, j;

	if (run->len < ETH_HLEN || !run->chunk || !run->burst || run->burst > NAPI_POLL_WEIGHT ||
	    run->packets < run->chunk || run->packets / run->chunk > CHUNKS_MAX || run->numbered > DEVICES_MAX || run->room > FRAME_MAX)
		return -ERANGE;
	for (i = 0; i < run->varies; i++) {
		struct vary *vary = &run->vary[i];

		if (vary->at > run->len || vary->width > run->len - vary->at)
			return -ERANGE;
		for (j = 0; j < vary->width; j++)
			vary->first = vary->first << 8 | run->frame[vary->at + j];
	}
	return 0;
}

static int run_on_devices(struct run *run)
{
	unsigned int wanted = run->numbered ?: 1;
	char name[IFNAMSIZ + 12];
	int err = 0;

	run->device = kvcalloc(wanted, sizeof(*run->device), GFP_KERNEL);
	if (!run->device)
		return -ENOMEM;
	while (run->devices < wanted && !err) {
		struct net_device *dev;

		if (run->numbered)
			snprintf(name, sizeof(name), "%s%u", run->name, run->devices);
		dev = dev_get_by_name(current->nsproxy->net_ns, run->numbered ? name : run->name);
		if (!dev)
			err = -ENODEV;
		else if (!(dev->flags & IFF_UP))
			err = -ENETDOWN;
		if (dev)
			run->device[run->devices++] = dev;
	}
	if (!err)
		err = go(run);
	while (run->devices > 0)
		dev_put(run->device[--run->devices]);
	kvfree(run->device);
	return err;
}

static int run_command(char *words)
{
	struct run *run = kvzalloc(sizeof(*run), GFP_KERNEL);
	char *word;
	int err = 0;

	if (!run)
		return -ENOMEM;
	run->burst = NAPI_POLL_WEIGHT;
	while (!err && (word = strsep(&words, " ")))
		err = *word ? set(run, word) : 0;
	if (!err)
		err = check(run);
	if (!err)
		err = run_on_devices(run);
	kvfree(run);
	return err;
}

static ssize_t pump_write(struct file *file, const char __user *from, size_t len, loff_t *at)
{
	char *text, *rest;
	const char *word;
	int err;

	if (len > COMMAND_MAX)
		return -E2BIG;
	text = memdup_user_nul(from, len);
	if (IS_ERR(text))
		return PTR_ERR(text);
	mutex_lock(&pump_lock);
	result[0] = 0;
	rest = strim(text);
	word = strsep(&rest, " ");
	if (!strcmp(word, "run"))
		err = run_command(rest);
	else if (!strcmp(word, "sink") && rest)
		err = add_sink(rest);
	else if (!strcmp(word, "unsink")) {
		remove_sinks();
		err = 0;
	} else {
		err = -EINVAL;
	}
	mutex_unlock(&pump_lock);
	kfree(text);
	return err ?: len;
}

static int pump_show(struct seq_file *file, void *unused)
{
	mutex_lock(&pump_lock);
	seq_puts(file, result);
	mutex_unlock(&pump_lock);
	return 0;
}

static int pump_open(struct inode *inode, struct file *file)
{
	return single_open(file, pump_show, NULL);
}

static const struct proc_ops pump_ops = {
	.proc_open = pump_open,
	.proc_read = seq_read,
	.proc_write = pump_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init pump_init(void)
{
	int err;

	pump_device = alloc_netdev_dummy(0);
	if (!pump_device)
		return -ENOMEM;
	netif_napi_add(pump_device, &pump_napi, NULL);
	napi_enable(&pump_napi);
	err = register_netdevice_notifier(&pump_notifier);
	if (err)
		goto no_notifier;
	pump_file = proc_create("vnet_pump", 0600, NULL, &pump_ops);
	if (pump_file)
		return 0;
	err = -ENOMEM;
	unregister_netdevice_notifier(&pump_notifier);
no_notifier:
	napi_disable(&pump_napi);
	netif_napi_del(&pump_napi);
	free_netdev(pump_device);
	return err;
}

static void __exit pump_exit(void)
{
	proc_remove(pump_file);
	remove_sinks();
	unregister_netdevice_notifier(&pump_notifier);
	napi_disable(&pump_napi);
	netif_napi_del(&pump_napi);
	free_netdev(pump_device);
}

module_init(pump_init);
module_exit(pump_exit);
MODULE_DESCRIPTION("sends and drops frames, for vnet's benchmark");
MODULE_LICENSE("GPL");
