// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linked into the kernel's test_progs: writes the name of each subtest into the kernel's log before it starts, so that a
 * crash, a hang and a complaint of the kernel can be blamed on it. test_progs itself tells of a subtest only when it is over.
 *
 *   cc … -c mark.c          with the include paths of the selftests
 *   ld … mark.o --wrap=test__start_subtest --wrap=test__start_subtest_with_desc
 *
 * The line is RUN_MARK of images/wire; /dev/kmsg takes one record per write(2).
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "test_progs.h"

bool __real_test__start_subtest(const char *name);
bool __wrap_test__start_subtest(const char *name);
/* 7.2 has it; 6.12 neither has nor calls it. */
bool __real_test__start_subtest_with_desc(const char *name, const char *desc) __attribute__((weak));
bool __wrap_test__start_subtest_with_desc(const char *name, const char *desc);

static bool mark(bool starts, const char *subtest)
{
	char line[512];
	int fd, length;

	if (!starts)
		return false;
	/* The name is the first field of the structure that test_progs keeps to itself, in every release since 5.10. */
	length = snprintf(line, sizeof(line), "<4>kvet-test: RUN %s/%s\n", *(const char **)env.test, subtest);
	if (length >= (int)sizeof(line))
		length = sizeof(line) - 1;
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		/* A mark that cannot be written costs the blame, never a test. */
		if (write(fd, line, length) < 0) {}
		close(fd);
	}
	return true;
}

bool __wrap_test__start_subtest(const char *name)
{
	return mark(__real_test__start_subtest(name), name);
}

bool __wrap_test__start_subtest_with_desc(const char *name, const char *desc)
{
	return mark(__real_test__start_subtest_with_desc(name, desc), desc ? desc : name);
}
