/* The child of a fork is told so at once, by whatever way it was forked; what needs no store works there. */
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "onlyonce_libpq.h"
#include "testing.h"

static oo_store store;

/* A child in a PID namespace of its own may have its parent's number. */
static pid_t pretended;

pid_t getpid(void) { return pretended != 0 ? pretended : (pid_t)syscall(SYS_getpid); }

static void in_the_child(void)
{
	unsigned char print[OO_FINGERPRINT_SIZE];
	oo_operation o = operation("forked", "b", print);
	oo_response r = response(200, "", "x", 1);
	oo_result *result = NULL;
	oo_store another;
	alarm(20); /* a hang is a failure */
	BAD(OO_EFORK, oo_open("{}", 2, &another, &error));
	BAD(OO_EFORK, oo_check(store, &error));
	BAD(OO_EFORK, oo_begin(store, &o, &result, &error));
	BAD(OO_EFORK, oo_lookup(store, &o, &result, &error));
	BAD(OO_EFORK, oo_complete(store, &o, bytes(print, OO_OWNER_SIZE), &r, NULL, &error));
	BAD(OO_EFORK, oo_extend(store, &o, bytes(print, OO_OWNER_SIZE), 1, &error));
	BAD(OO_EFORK, oo_release(store, &o, bytes(print, OO_OWNER_SIZE), &error));
	BAD(OO_EFORK, oo_reap(store, 1, NULL, &error));
	BAD(OO_EFORK, oo_close(store, &error));
}

static void with_a_connection_of_its_own(void)
{
	oo_operation o = operation("forked-tx", NULL, NULL);
	oo_response r = response(200, "", "by the child", 12);
	oo_result *result = NULL;
	PGconn *conn = PQconnectdb(getenv("SUITE_URL"));
	oo_executor db = oo_libpq(conn);
	db.schema = getenv("SUITE_SCHEMA");
	CHECK(PQsetClientEncoding(conn, "UTF8") == 0);
	PQclear(PQexec(conn, "BEGIN"));
	GOOD(oo_tx_begin(&db, &o, none(), &result, &error));
	CHECK(result->outcome == OO_EXECUTE);
	oo_result_free(&result);
	GOOD(oo_tx_complete(&db, &o, none(), &r, 0, &error));
	PQclear(PQexec(conn, "COMMIT"));
	PQfinish(conn);
}

static void wait_for(pid_t pid)
{
	int status = 0;
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	oo_operation o = operation("forked-tx", NULL, NULL);
	oo_result *result = NULL;
	pid_t pid;
	store = store_with("");
	GOOD(oo_check(store, &error));

	if ((pid = fork()) == 0) {
		in_the_child();
		pretended = getppid();
		in_the_child();
		pretended = 0;
		with_a_connection_of_its_own();
		if ((pid = fork()) == 0) { /* and its children */
			in_the_child();
			_exit(0);
		}
		wait_for(pid);
		_exit(0);
	}
	wait_for(pid);

	if ((pid = (pid_t)syscall(SYS_fork)) == 0) { /* which tells no handler */
		in_the_child();
		_exit(0);
	}
	wait_for(pid);

	GOOD(oo_begin(store, &o, &result, &error)); /* the parent goes on */
	CHECK(result->outcome == OO_REPLAY && same(result->body, "by the child", 12));
	oo_result_free(&result);
	GOOD(oo_close(store, &error));
	return 0;
}
