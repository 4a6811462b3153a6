/* A client and its requests, between the files of this module. */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/credentials.h"
#include "api/multi.h"
#include "portald/apiclient.h"

/* A refused answer is kept, in case there are no other credentials to try. */
#define KEPT_BODY_BYTES 4096

enum request_state { REQUEST_WAITING, REQUEST_SENT, REQUEST_ENDED, REQUEST_CANCELLED };

struct apiclient_request {
	struct apiclient *client;
	struct apiclient_request *prev, *next;
	enum request_state state;
	char *path;
	struct apiclient_handlers handlers;
	void *context;
	struct event *deadline;
	int64_t deadline_ms; /* as asked for */
	int64_t begun_ms;

	/* The transfer. */
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	uint64_t generation; /* of the credentials it was sent with */
	char curl_error[CURL_ERROR_SIZE];

	/* The answer. */
	struct apiclient_answer answer;
	char *content_type;
	bool started; /* the handler knows of the answer */
	bool refused; /* by 401: it is to be sent once more */
	bool renewed; /* it was */
	char kept[KEPT_BODY_BYTES];
	size_t kept_count;

	/* When it has ended. */
	int error;
	char *message;
};

struct apiclient {
	struct event_base *base;
	const struct kubeconfig *config;
	struct apiclient_options options;
	struct credentials credentials;
	struct multi multi;
	struct event *pump;
	struct apiclient_request *requests;
	char *agent, *host_header;
	bool distrust; /* a transfer has failed: the next ones take new connections */
};

/* request.c: Makes the transfer and hands it to libcurl. Returns 0 or a negative errno. */
int request_send(struct apiclient_request *request);
/* Takes the transfer back from libcurl and frees it. */
void request_unsend(struct apiclient_request *request);
/* Tells the handler of the answer's head, if that has not happened. */
void request_tell(struct apiclient_request *request);
/* Ends it, by a handler's call to come. message is taken and completed by the server's name. */
void request_end_take(struct apiclient_request *request, int error, char *message);
/* What libcurl's result is to our callers. */
void request_end_curl(struct apiclient_request *request, CURLcode code);

#endif
