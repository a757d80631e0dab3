/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM apple_dma_pci

#if !defined(ADP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ADP_TRACE_H

#include <linux/device.h>
#include <linux/dma-direction.h>
#include <linux/tracepoint.h>

/*
 * Fields hold a copy of the device's name in a fixed array: __assign_str() has
 * another number of arguments in every other kernel.
 */
#define ADP_TRACE_NAME 24

TRACE_EVENT(adp_doorbell,
	    TP_PROTO(struct device *dev, u32 type, u32 count, u32 status),
	    TP_ARGS(dev, type, count, status),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(u32, type)
			     __field(u32, count)
			     __field(u32, status)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->type = type;
			   __entry->count = count;
			   __entry->status = status;),
	    TP_printk("%s type=%u count=%u status=%u", __entry->name,
		      __entry->type, __entry->count, __entry->status)
);

TRACE_EVENT(adp_map_entry,
	    TP_PROTO(struct device *dev, u64 gpa, u64 len, u64 dma, u64 dma_len,
		     u32 status),
	    TP_ARGS(dev, gpa, len, dma, dma_len, status),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(u64, gpa)
			     __field(u64, len)
			     __field(u64, dma)
			     __field(u64, dma_len)
			     __field(u32, status)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->gpa = gpa;
			   __entry->len = len;
			   __entry->dma = dma;
			   __entry->dma_len = dma_len;
			   __entry->status = status;),
	    TP_printk("%s gpa=%#llx len=%#llx dma=%#llx dma_len=%#llx status=%u",
		      __entry->name, __entry->gpa, __entry->len, __entry->dma,
		      __entry->dma_len, __entry->status)
);

TRACE_EVENT(adp_unmap_entry,
	    TP_PROTO(struct device *dev, u64 id, u64 size, u32 status),
	    TP_ARGS(dev, id, size, status),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(u64, id)
			     __field(u64, size)
			     __field(u32, status)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->id = id;
			   __entry->size = size;
			   __entry->status = status;),
	    TP_printk("%s id=%#llx size=%#llx status=%u", __entry->name,
		      __entry->id, __entry->size, __entry->status)
);

TRACE_EVENT(adp_map,
	    TP_PROTO(struct device *dev, u64 phys, u64 size, u64 dma,
		     enum dma_data_direction dir),
	    TP_ARGS(dev, phys, size, dma, dir),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(u64, phys)
			     __field(u64, size)
			     __field(u64, dma)
			     __field(int, dir)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->phys = phys;
			   __entry->size = size;
			   __entry->dma = dma;
			   __entry->dir = dir;),
	    TP_printk("%s phys=%#llx size=%#llx dma=%#llx dir=%d", __entry->name,
		      __entry->phys, __entry->size, __entry->dma, __entry->dir)
);

TRACE_EVENT(adp_unmap,
	    TP_PROTO(struct device *dev, u64 dma, u64 size,
		     enum dma_data_direction dir),
	    TP_ARGS(dev, dma, size, dir),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(u64, dma)
			     __field(u64, size)
			     __field(int, dir)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->dma = dma;
			   __entry->size = size;
			   __entry->dir = dir;),
	    TP_printk("%s dma=%#llx size=%#llx dir=%d", __entry->name,
		      __entry->dma, __entry->size, __entry->dir)
);

TRACE_EVENT(adp_map_sg,
	    TP_PROTO(struct device *dev, int nents, u64 bytes,
		     enum dma_data_direction dir),
	    TP_ARGS(dev, nents, bytes, dir),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(int, nents)
			     __field(u64, bytes)
			     __field(int, dir)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->nents = nents;
			   __entry->bytes = bytes;
			   __entry->dir = dir;),
	    TP_printk("%s nents=%d bytes=%#llx dir=%d", __entry->name,
		      __entry->nents, __entry->bytes, __entry->dir)
);

TRACE_EVENT(adp_unmap_sg,
	    TP_PROTO(struct device *dev, int nents, enum dma_data_direction dir),
	    TP_ARGS(dev, nents, dir),
	    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
			     __field(int, nents)
			     __field(int, dir)),
	    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
			   __entry->nents = nents;
			   __entry->dir = dir;),
	    TP_printk("%s nents=%d dir=%d", __entry->name, __entry->nents,
		      __entry->dir)
);

DECLARE_EVENT_CLASS(adp_coherent,
		    TP_PROTO(struct device *dev, u64 size, u64 dma),
		    TP_ARGS(dev, size, dma),
		    TP_STRUCT__entry(__array(char, name, ADP_TRACE_NAME)
				     __field(u64, size)
				     __field(u64, dma)),
		    TP_fast_assign(strscpy(__entry->name, dev_name(dev), ADP_TRACE_NAME);
				   __entry->size = size;
				   __entry->dma = dma;),
		    TP_printk("%s size=%#llx dma=%#llx", __entry->name, __entry->size,
			      __entry->dma)
);

DEFINE_EVENT(adp_coherent, adp_alloc,
	     TP_PROTO(struct device *dev, u64 size, u64 dma),
	     TP_ARGS(dev, size, dma)
);

DEFINE_EVENT(adp_coherent, adp_free,
	     TP_PROTO(struct device *dev, u64 size, u64 dma),
	     TP_ARGS(dev, size, dma)
);

#endif /* ADP_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
