/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-2-Clause) */
/*
 * apple-dma-pci: the wire contract between guest and host.
 *
 * A paravirtual PCI function (the companion) maps guest memory for the DMA of
 * one other function on its bus (the managed function). The guest puts a batch
 * of map or unmap requests into its memory, describes it in a command page and
 * rings a doorbell; when the doorbell's store has completed, the responses are
 * in guest memory. The platform chooses every DMA address.
 *
 * All integers are little-endian. GPA is a guest physical address.
 * Documentation/protocol.rst describes the behaviour behind these numbers.
 */
#ifndef _LINUX_APPLE_DMA_PCI_H
#define _LINUX_APPLE_DMA_PCI_H

#include <linux/types.h>

/* PCI function; the device ID is tentative, it is not reserved upstream. */
#define APPLE_DMA_PCI_VENDOR_ID		0x1b36
#define APPLE_DMA_PCI_DEVICE_ID		0x0015
#define APPLE_DMA_PCI_CLASS		0x0880
#define APPLE_DMA_PCI_BAR		0
#define APPLE_DMA_PCI_BAR_SIZE		0x1000

/* BAR0 registers, all 32 bits wide. */
#define APPLE_DMA_PCI_REG_VERSION	0x00 /* R: APPLE_DMA_PCI_VERSION */
#define APPLE_DMA_PCI_REG_MANAGED_BDF	0x04 /* R: bus << 8 | devfn, bus may be stale */
#define APPLE_DMA_PCI_REG_MAX_ENTRIES	0x08 /* R: most entries in one batch */
#define APPLE_DMA_PCI_REG_STATUS	0x0c /* R: result of the last doorbell */
#define APPLE_DMA_PCI_REG_CMD_GPA_LO	0x10 /* W: command page GPA, reads as 0 */
#define APPLE_DMA_PCI_REG_CMD_GPA_HI	0x14 /* W: command page GPA, reads as 0 */
#define APPLE_DMA_PCI_REG_DOORBELL	0x18 /* W: any value processes the batch */

#define APPLE_DMA_PCI_VERSION		2

/* The host maps whole pages of its own: start and length of every MAP. */
#define APPLE_DMA_PCI_HOST_PAGE_SHIFT	14
#define APPLE_DMA_PCI_HOST_PAGE_SIZE	(1UL << APPLE_DMA_PCI_HOST_PAGE_SHIFT)

/* struct apple_dma_pci_cmd.type */
#define APPLE_DMA_PCI_CMD_MAP		1
#define APPLE_DMA_PCI_CMD_UNMAP		2

/* Status of a batch, of an entry, and of the STATUS register. */
#define APPLE_DMA_PCI_S_OK		0
#define APPLE_DMA_PCI_S_IOERR		1
#define APPLE_DMA_PCI_S_INVAL		3

/**
 * struct apple_dma_pci_cmd - the command page
 * @type: APPLE_DMA_PCI_CMD_MAP or APPLE_DMA_PCI_CMD_UNMAP
 * @count: entries in both arrays, 1 to MAX_ENTRIES
 * @status: written by the device; left alone if the page cannot be read
 * @reserved: 0
 * @req_gpa: GPA of the request array, contiguous in guest RAM
 * @resp_gpa: GPA of the response array, contiguous in guest RAM
 */
struct apple_dma_pci_cmd {
	__le32 type;
	__le32 count;
	__le32 status;
	__le32 reserved;
	__le64 req_gpa;
	__le64 resp_gpa;
};

/*
 * Two layouts of the map entries are in use under one version number. The
 * registers do not tell them apart; a MAP of one entry with len < 4 GiB is a
 * valid request in both, and its response shows which one the host speaks.
 */

/**
 * struct apple_dma_pci_map_req_narrow - map request, narrow layout
 * @gpa: start, a multiple of the host page, not the start of a live mapping
 * @len: bytes, a multiple of the host page
 * @flags: 0
 */
struct apple_dma_pci_map_req_narrow {
	__le64 gpa;
	__le32 len;
	__le32 flags;
} __attribute__((packed));

/**
 * struct apple_dma_pci_map_resp_narrow - map response, narrow layout
 * @id: opaque handle for unmap
 * @dma_addr: the address that the platform chose
 * @dma_len: bytes mapped; fewer than asked for is a failure to be unmapped
 * @status: APPLE_DMA_PCI_S_*; a failed entry has nothing else written
 */
struct apple_dma_pci_map_resp_narrow {
	__le64 id;
	__le64 dma_addr;
	__le32 dma_len;
	__le32 status;
} __attribute__((packed));

/**
 * struct apple_dma_pci_map_req_wide - map request, wide layout
 * @gpa: start, a multiple of the host page, not the start of a live mapping
 * @len: bytes, a multiple of the host page
 * @flags: 0
 */
struct apple_dma_pci_map_req_wide {
	__le64 gpa;
	__le64 len;
	__le32 flags;
} __attribute__((packed));

/**
 * struct apple_dma_pci_map_resp_wide - map response, wide layout
 * @id: opaque handle for unmap
 * @dma_addr: the address that the platform chose
 * @dma_len: bytes mapped; fewer than asked for is a failure to be unmapped
 * @status: APPLE_DMA_PCI_S_*; a failed entry has nothing else written
 */
struct apple_dma_pci_map_resp_wide {
	__le64 id;
	__le64 dma_addr;
	__le64 dma_len;
	__le32 status;
} __attribute__((packed));

/**
 * struct apple_dma_pci_unmap_req - unmap request, both layouts
 * @id: handle from the map response
 * @size: bytes mapped
 */
struct apple_dma_pci_unmap_req {
	__le64 id;
	__le64 size;
};

/**
 * struct apple_dma_pci_unmap_resp - unmap response, both layouts
 * @id: handle from the request
 * @status: APPLE_DMA_PCI_S_*
 * @reserved: 0
 */
struct apple_dma_pci_unmap_resp {
	__le64 id;
	__le32 status;
	__le32 reserved;
};

#endif /* _LINUX_APPLE_DMA_PCI_H */
