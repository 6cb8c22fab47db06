// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linked into the kernel's test_progs: writes the name of each test and subtest into the kernel's log before it starts, so
 * that its time is known, and a crash, a hang and a complaint of the kernel can be blamed on it. test_progs itself tells of
 * them only when they are over.
 *
 * Made an archive, so that the other programs of the selftests, which are linked with the same libraries, go without it.
 * The linker's --wrap leads every call here: of the two functions below, and of all that kvet_tests.h lists, a line
 * `TEST(function, name)` for each test (runner/src/upstream/mark.rs). Nothing of a release's headers is used.
 *
 * The line is RUN_MARK of images/wire; /dev/kmsg takes one record per write(2).
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static const char *running = "";

static void mark(const char *subtest)
{
	char line[512];
	int fd, length;

	length = snprintf(line, sizeof(line), "<4>kvet-test: RUN %s%s%s\n", running, subtest ? "/" : "",
			  subtest ? subtest : "");
	if (length >= (int)sizeof(line))
		length = sizeof(line) - 1;
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		/* A mark that cannot be written costs the blame, never a test. */
		if (write(fd, line, length) < 0) {}
		close(fd);
	}
}

bool __real_test__start_subtest(const char *name);
bool __wrap_test__start_subtest(const char *name);

bool __wrap_test__start_subtest(const char *name)
{
	/* It says whether the subtest is to run. */
	bool starts = __real_test__start_subtest(name);

	if (starts)
		mark(name);
	return starts;
}

/* 7.2 has it; 6.12 neither has nor calls it. */
bool __real_test__start_subtest_with_desc(const char *name, const char *desc) __attribute__((weak));
bool __wrap_test__start_subtest_with_desc(const char *name, const char *desc);

bool __wrap_test__start_subtest_with_desc(const char *name, const char *desc)
{
	bool starts = __real_test__start_subtest_with_desc(name, desc);

	if (starts)
		mark(desc ? desc : name);
	return starts;
}

#define TEST(function, name)			\
	void __real_##function(void);		\
	void __wrap_##function(void);		\
	void __wrap_##function(void)		\
	{					\
		running = #name;		\
		mark(NULL);			\
		__real_##function();		\
	}

#include "kvet_tests.h"
