// Lets a user-mode kernel of Linux 6.1 run on processors with more extended registers than it has room for.
//
// It keeps 2,696 bytes of them for each process. Where there are more (11,008 with AMX), the host cuts short what the
// kernel reads, and refuses with EFAULT to write that back, as a write must be whole. Preloaded into the kernel, this
// completes each write with what the process has beyond the kernel's part, which no program of the tests uses.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long (*ptrace_fn)(enum __ptrace_request, ...);

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_fn real;
	if (!real)
		real = (ptrace_fn)dlsym(RTLD_NEXT, "ptrace");

	va_list rest;
	va_start(rest, request);
	pid_t pid = va_arg(rest, pid_t);
	void *address = va_arg(rest, void *);
	void *data = va_arg(rest, void *);
	va_end(rest);

	if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
		// Not on the stack, which has 16 KiB in the kernel. Only one of its threads traces.
		static char state[1 << 16];
		struct iovec whole = {state, sizeof state};
		const struct iovec *part = data;
		if (real(PTRACE_GETREGSET, pid, address, &whole) < 0)
			return -1;
		if (part->iov_len < whole.iov_len) {
			memcpy(state, part->iov_base, part->iov_len);
			return real(request, pid, address, &whole);
		}
	}
	return real(request, pid, address, data);
}
