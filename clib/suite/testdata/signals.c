/* What the library leaves of the program's signals. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "testing.h"

static volatile sig_atomic_t seen[65];

static void note(int signal) { seen[signal]++; }

int main(int count, char **arguments)
{
	static const int own[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGALRM, SIGPROF };
	struct sigaction action, before;
	oo_store store = store_with("");
	GOOD(oo_check(store, &error));
	/* None of these has a handler of Go's. */
	for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
		CHECK(sigaction(own[i], NULL, &before) == 0);
		if (before.sa_handler != SIG_DFL)
			fprintf(stderr, "signal %d has a handler\n", own[i]);
		CHECK(before.sa_handler == SIG_DFL);
	}
	/* A handler of the program's own, on the stack that Go asks for, hears its signals while the library is at work. */
	memset(&action, 0, sizeof action);
	action.sa_handler = note;
	action.sa_flags = SA_ONSTACK | SA_RESTART;
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		CHECK(sigaction(own[i], &action, NULL) == 0);
	for (int i = 0; i < 100; i++) {
		raise(SIGUSR1);
		GOOD(oo_check(store, &error));
	}
	CHECK(seen[SIGUSR1] == 100);
	GOOD(oo_close(store, &error));
	if (count > 1 && strcmp(arguments[1], "pipe") == 0) {
		int ends[2];
		CHECK(pipe(ends) == 0);
		close(ends[0]);
		CHECK(write(ends[1], "x", 1) == 1); /* SIGPIPE, as if the library were not there */
	}
	if (count > 1 && strcmp(arguments[1], "ignored pipe") == 0) {
		int ends[2];
		signal(SIGPIPE, SIG_IGN);
		CHECK(pipe(ends) == 0);
		close(ends[0]);
		CHECK(write(ends[1], "x", 1) == -1);
	}
	return 0;
}
