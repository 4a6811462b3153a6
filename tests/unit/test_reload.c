/* A configuration file that changes while the daemon runs: when that is noticed, and what of it is taken up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "portald/log.h"
#include "proc/config_watch.h"
#include "proc/reload.h"

static char path[] = "/tmp/portald-reload-XXXXXX";

static void put(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	log_init("test", LOG_TEXT, 0);
	close(fd);
	return fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

/* ---- noticing ---- */

static void change_is_noticed_once_and_when_the_file_has_settled(void **state)
{
	struct config_watch watch;

	(void)state;
	put("a");
	config_watch_init(&watch, path, config_stamp_of(path));
	assert_false(config_watch_changed(&watch));
	put("ab");
	assert_false(config_watch_changed(&watch));
	put("abc");
	assert_false(config_watch_changed(&watch));
	assert_true(config_watch_changed(&watch));
	assert_false(config_watch_changed(&watch));
}

static void change_before_the_first_look_is_noticed(void **state)
{
	struct config_watch watch;
	struct config_stamp taken;

	(void)state;
	put("a");
	taken = config_stamp_of(path);
	put("ab");
	config_watch_init(&watch, path, taken);
	assert_false(config_watch_changed(&watch));
	assert_true(config_watch_changed(&watch));
}

static void file_that_is_away_for_a_while_is_no_change(void **state)
{
	struct config_watch watch;
	char away[sizeof(path) + 2];

	(void)state;
	put("a");
	config_watch_init(&watch, path, config_stamp_of(path));
	snprintf(away, sizeof(away), "%s.x", path);
	assert_int_equal(rename(path, away), 0);
	assert_false(config_watch_changed(&watch));
	assert_false(config_watch_changed(&watch));
	assert_int_equal(rename(away, path), 0);
	assert_false(config_watch_changed(&watch));
	assert_false(config_watch_changed(&watch));
}

/* ---- taking up ---- */

/* The daemon's options, of a command line and a file's settings. */
static void begin(struct options *current, const char *text)
{
	static char *words[] = {"portald", "--config=c", "-f", "a", "-v1", NULL};
	struct settings file;
	struct options line;

	assert_int_equal(options_parse(&line, 5, words, stderr), 0);
	assert_int_equal(settings_from_text(&file, text), 0);
	assert_int_equal(options_configure(current, &line, &file, stderr), 0);
	settings_fini(&file);
	options_fini(&line);
}

static void what_can_be_changed_is_and_the_rest_stays(void **state)
{
	struct options current, fresh, again;

	(void)state;
	begin(&current, "scheduler=lc\nrelays=2\nconntrack-min=5\n");
	assert_int_equal(reload_merge(&fresh, &current,
				 "scheduler=nq\nzone=west\nrelays=3\nbind-address=10.0.0.1\n"
				 "nodeport-addresses=10.0.0.0/8\nmanifests=b\n"),
		1);
	assert_int_equal(fresh.defaults.scheduler, SCHEDULER_NQ);
	assert_string_equal(fresh.zone, "west");
	assert_int_equal(fresh.node_port_range_count, 1);
	assert_int_equal(fresh.relay_count, 2);
	assert_int_equal(fresh.conntrack.min, 5);
	assert_true(addr_is_any(&fresh.bind_addr));
	assert_int_equal(fresh.manifest_count, 1);
	assert_string_equal(fresh.manifests[0], "a");
	/* What a restarted process makes of it is the same. */
	assert_int_equal(options_configure(&again, &fresh, &fresh.file, stderr), 0);
	assert_true(settings_equal(&again.effective, &fresh.effective));
	options_fini(&again);
	options_fini(&fresh);
	options_fini(&current);
}

static void field_that_is_taken_out_has_its_default_again(void **state)
{
	struct options current, fresh;

	(void)state;
	begin(&current, "scheduler=lc\nudp-timeout=9s\n");
	assert_int_equal(reload_merge(&fresh, &current, ""), 1);
	assert_int_equal(fresh.defaults.scheduler, SCHEDULER_RR);
	assert_int_equal(fresh.defaults.udp_idle_ms, 250);
	options_fini(&fresh);
	options_fini(&current);
}

static void change_that_changes_nothing_is_none(void **state)
{
	struct options current, fresh;

	(void)state;
	begin(&current, "scheduler=rr\n");
	assert_int_equal(reload_merge(&fresh, &current, "udp-timeout=250ms\n"), 0);
	/* The flag on the command line goes before it. */
	assert_int_equal(reload_merge(&fresh, &current, "v=4\n"), 0);
	/* It takes a new start. */
	assert_int_equal(reload_merge(&fresh, &current, "user=somebody\n"), 0);
	options_fini(&current);
}

static void nonsense_is_refused(void **state)
{
	struct options current, fresh;

	(void)state;
	begin(&current, "");
	assert_int_equal(reload_merge(&fresh, &current, "scheduler\n"), -EINVAL);
	assert_int_equal(reload_merge(&fresh, &current, "scheduler=best\n"), -EINVAL);
	assert_int_equal(reload_merge(&fresh, &current, "no-such-flag=1\n"), -EINVAL);
	assert_int_equal(reload_merge(&fresh, &current, "bind-address=127.0.0.1\n"), -EINVAL);
	options_fini(&current);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(change_is_noticed_once_and_when_the_file_has_settled),
		cmocka_unit_test(change_before_the_first_look_is_noticed),
		cmocka_unit_test(file_that_is_away_for_a_while_is_no_change),
		cmocka_unit_test(what_can_be_changed_is_and_the_rest_stays),
		cmocka_unit_test(field_that_is_taken_out_has_its_default_again),
		cmocka_unit_test(change_that_changes_nothing_is_none),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
