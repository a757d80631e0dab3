// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a function of the kernel by a BPF program at its entry (fentry), one that does nothing,
 * and keeps it until it is killed. Says "taken" when it has it.
 *
 * adp_bpf FUNCTION
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest.h"

#define TYPES	"/sys/kernel/btf/vmlinux"

/* What follows a type's head, in bytes: Documentation/bpf/btf.rst of the kernel. */
static size_t tail_bytes(const struct btf_type *type)
{
	size_t n = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
		return sizeof(__u32);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * 3 * sizeof(__u32);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	default:
		return 0;
	}
}

/* The number of a function's type, or 0. */
static __u32 find_function(const char *data, size_t size, const char *name)
{
	const struct btf_header *head = (const void *)data;
	const char *strings, *at, *end;
	__u32 id = 1;

	if (size < sizeof(*head) || head->magic != BTF_MAGIC)
		return 0;
	strings = data + head->hdr_len + head->str_off;
	at = data + head->hdr_len + head->type_off;
	end = at + head->type_len;
	for (; at < end; id++) {
		const struct btf_type *type = (const void *)at;

		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC &&
		    !strcmp(strings + type->name_off, name))
			return id;
		at += sizeof(*type) + tail_bytes(type);
	}
	return 0;
}

static char *read_types(size_t *size)
{
	int fd = open(TYPES, O_RDONLY);
	struct stat st;
	size_t have = 0;
	char *data;

	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		ksft_exit_skip("%s: no types\n", TYPES);
	data = malloc(st.st_size);
	while (data && have < (size_t)st.st_size) {
		ssize_t n = read(fd, data + have, st.st_size - have);

		if (n <= 0)
			break;
		have += n;
	}
	close(fd);
	*size = have;
	return data;
}

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(__NR_bpf, command, attr, sizeof(*attr));
}

int main(int argc, char **argv)
{
	/* r0 = 0; exit */
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {};
	char *types;
	size_t size;
	__u32 id;
	int fd;

	if (argc != 2) {
		fprintf(stderr, "usage: adp_bpf FUNCTION\n");
		return KSFT_FAIL;
	}
	types = read_types(&size);
	id = types ? find_function(types, size, argv[1]) : 0;
	if (!id) {
		fprintf(stderr, "adp_bpf: %s has no function %s\n", TYPES, argv[1]);
		return KSFT_FAIL;
	}
	attr.prog_type = BPF_PROG_TYPE_TRACING;
	attr.expected_attach_type = BPF_TRACE_FENTRY;
	attr.attach_btf_id = id;
	attr.insns = (unsigned long)program;
	attr.insn_cnt = sizeof(program) / sizeof(struct bpf_insn);
	attr.license = (unsigned long)"GPL";
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0) {
		perror("adp_bpf: loading the program");
		return KSFT_FAIL;
	}
	memset(&attr, 0, sizeof(attr));
	attr.raw_tracepoint.prog_fd = fd;
	if (bpf(BPF_RAW_TRACEPOINT_OPEN, &attr) < 0) {
		fprintf(stderr, "adp_bpf: %s cannot be taken: %s\n", argv[1], strerror(errno));
		return KSFT_FAIL;
	}
	printf("taken\n");
	fflush(stdout);
	for (;;)
		pause();
}
