/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ADP_MODEL_HOST_H
#define ADP_MODEL_HOST_H

#include "kshim.h"

enum placement { PLACE_LOWEST, PLACE_RANDOM, PLACE_UNALIGNED };

/**
 * struct host_config - the platform that host.c imitates
 * @max_bytes: bytes that can be mapped
 * @max_mappings: mappings that can be
 * @batch: entries in a batch
 * @place: how addresses are chosen
 * @space: host pages of address space
 * @refuse: one MAP entry in so many is refused, 0 for none
 * @shorten: one MAP entry in so many is mapped in part, 0 for none
 * @keep: one UNMAP entry in so many is refused, 0 for none
 * @odd_ids: mappings are not named by their start
 * @leave: mappings that an earlier kernel has left, at most
 */
struct host_config {
	u64 max_bytes;
	u64 max_mappings;
	u32 batch;
	enum placement place;
	u32 space;
	u32 refuse;
	u32 shorten;
	u32 keep;
	bool odd_ids;
	u32 leave;
};

/**
 * struct host_mapping - what the host holds
 * @id: its name
 * @gpa: start in guest memory
 * @len: bytes
 * @dma: address
 * @used: this one is in use
 * @stuck: its unmap was refused
 * @old: an earlier kernel has left it
 */
struct host_mapping {
	u64 id;
	u64 gpa;
	u64 len;
	u64 dma;
	bool used;
	bool stuck;
	bool old;
};

#define HOST_MAPPINGS 8192
extern struct host_mapping host_map[HOST_MAPPINGS];
extern u64 host_live_bytes, host_live, host_doorbells, host_stuck, host_entries;
extern u64 host_old, host_old_bytes; /* of host_live and host_live_bytes */

void host_leave(u64 gpa, u32 pages);
void host_init(const struct host_config *config, u64 seed);
const struct host_mapping *host_translate(u64 dma);
u64 host_base(void);
u64 host_random(void);

bool host_may_map(u64 start, u64 end);

__attribute__((noreturn, format(printf, 1, 2)))
void fail(const char *fmt, ...);

#endif /* ADP_MODEL_HOST_H */
