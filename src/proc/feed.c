/* Owns the choice between manifests and the API server. Runs in control. */
#include "proc/feed.h"

#include <stdlib.h>

#include "portald/mem.h"

struct feed {
	struct feed_files *files;
	struct feed_api *api;
};

struct feed *feed_open(const struct feed_setup *setup)
{
	struct feed *feed = mem_calloc(1, sizeof(*feed));

	if (setup->options->manifest_count > 0)
		feed->files = feed_files_open(setup);
	else
		feed->api = feed_api_open(setup);
	return feed;
}

void feed_close(struct feed *feed)
{
	if (!feed)
		return;
	feed_files_close(feed->files);
	feed_api_close(feed->api);
	free(feed);
}
