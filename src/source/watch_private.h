/* The parts of a watch: the machine itself (watch.c), its requests (watch_request.c), and what answers say
 * (watch_answer.c). */
#ifndef SOURCE_WATCH_PRIVATE_H
#define SOURCE_WATCH_PRIVATE_H

#include "portald/watch.h"
#include "source/api_object.h"
#include "source/api_stream.h"
#include "source/watch_store.h"

enum watch_state {
	WATCH_IDLE,    /* not started */
	WATCH_WAITING, /* the next request is due at due_ms */
	WATCH_ASKED,   /* a transfer runs; it is given up at due_ms */
};

enum watch_step { WATCH_STEP_LIST, WATCH_STEP_WATCH };

/* A version of the API that has the resource. */
struct watch_api {
	const char *version; /* "discovery.k8s.io/v1" */
	const char *group;   /* "" for core */
	const char *resource;
	const char *path;
	enum api_kind kind;
};

/* What the answer under way has said so far. */
struct watch_answer {
	int status;
	int64_t retry_after_s;
	bool complete;      /* a list: its end has come, and it is a list of the kind */
	bool has_error;     /* an ERROR event, or the body of an error: */
	int error_code;     /* its code: 410, ... */
	bool too_large;     /* see struct api_status */
	char *error_text;   /* the server's words, or NULL */
	char *list_version; /* the list's resourceVersion and continue token, or NULL */
	char *list_continue;
	size_t event_count; /* of events that were understood */
	bool corrupt;
};

struct watch {
	struct watch_config config;
	struct watch_store *store;
	enum watch_state state;
	enum watch_step step;
	int64_t due_ms, asked_ms, heard_ms, listed_ms;
	size_t api;                          /* index into the resource's versions */
	char *target;                        /* of the request under way */
	char *resource_version;              /* how far the store has come; NULL before the first list */
	char *continue_token;                /* of the next page, NULL for the first */
	const struct watch_api *version_api; /* what resource_version is of */
	bool whole;                          /* list without pages: a page's token has expired */
	bool latest;                         /* list what etcd has now: the resource version is of no use */
	bool renew;
	struct api_stream *stream;
	struct watch_answer answer;
	const char *reason; /* why the transfer ended, in the transport's words; during watch_ended() only */
	int64_t backoff_ms, backoff_at_ms; /* the last wait without jitter, and when it was chosen */
	unsigned unauthorized;             /* 401 in a row */
	unsigned too_large;                /* likewise */
	unsigned corrupt;                  /* broken streams without an event in between */
	char *problem;
	uint64_t lists;
};

/* The versions to try, best first; the count is returned. */
size_t watch_apis(enum watch_resource resource, const struct watch_api **apis);
const struct watch_api *watch_api(const struct watch *watch);

/* The target of the next request in fresh memory. timeout_s: for how long a watch is asked for. */
char *watch_target(const struct watch *watch, unsigned timeout_s);

void watch_report(const struct watch *watch, enum watch_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Prepare for the body of an answer with this status, and forget it. */
void watch_answer_begin(struct watch *watch, int status, int64_t retry_after_s);
void watch_answer_fini(struct watch *watch);

/* Replaces *text by a copy. */
void watch_set_text(char **text, const char *value);

#endif
