// SPDX-License-Identifier: GPL-2.0-only
/* Counters, one set a CPU. */
#include <linux/percpu.h>

#include "helpers.h"

u64 __percpu *vnet_counters_alloc(unsigned int count)
{
	return __alloc_percpu(array_size(count, sizeof(u64)), sizeof(u64));
}

u64 *vnet_raw_cpu_ptr(u64 __percpu *base)
{
	return raw_cpu_ptr(base);
}

void vnet_counters_free(u64 __percpu *counters)
{
	free_percpu(counters);
}

void vnet_counter_add(u64 __percpu *counters, unsigned int index, u64 value)
{
	this_cpu_add(counters[index], value);
}

u64 vnet_counter_sum(u64 __percpu *counters, unsigned int index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(counters, cpu)[index]);
	return sum;
}
