/* Owns the list of sockets that goes from a supervisor to its successor. Runs in both.
 *
 * It is text, so that programs of different versions understand each other, or see that they don't:
 *
 *     portald-sockets 1 KIND TOOL RELAYS
 *     listener ID PROTOCOL FLAGS FD...        a descriptor for each relay, -1 where it has none
 *     binding - PROTOCOL FLAGS FD...          with --steering=local
 *     claim - PROTOCOL 0 FD
 *
 * The descriptors themselves are inherited. Where a socket is bound, it says itself. */
#include "proc/inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <uthash.h>

#include "portald/log.h"
#include "portald/mem.h"
#include "proc/table.h"

#define HEAD "portald-sockets 1"
#define MAX_WORDS (4 + LISTEN_MAX_RELAYS)

/* One line of the list. */
struct item {
	UT_hash_handle hh;
	char *key; /* the id, or what key_of_binding() makes */
	enum proto proto;
	struct listen_socket socket;
	struct item *next; /* claims stand in a list: nobody looks for one */
};

struct inherit {
	struct inherit_facts facts;
	struct item *sockets; /* a uthash */
	struct item *claims;
};

/* ---- writing ---- */

struct pen {
	FILE *out;
	struct inherit_fds *fds;
};

static void put_fd(struct pen *pen, int fd)
{
	struct inherit_fds *fds = pen->fds;

	fprintf(pen->out, " %d", fd);
	if (fd < 0)
		return;
	fds->list = mem_grow(fds->list, fds->count, &fds->capacity, sizeof(*fds->list));
	fds->list[fds->count++] = fd;
}

static void put_socket(struct pen *pen, const char *kind, const char *id, enum proto proto,
	const struct listen_socket *socket)
{
	fprintf(pen->out, "%s %s %s %u", kind, id, proto_name(proto), socket->flags);
	for (size_t i = 0; i < socket->relay_count; i++)
		put_fd(pen, socket->fds[i]);
	fputc('\n', pen->out);
}

static void put_claim(void *context, enum proto proto, int fd)
{
	struct pen *pen = context;

	fprintf(pen->out, "claim - %s 0", proto_name(proto));
	put_fd(pen, fd);
	fputc('\n', pen->out);
}

static void put_all(struct pen *pen, struct table *table, const struct listen_claims *claims)
{
	for (struct table_entry *entry = table_first(table); entry; entry = entry->hh.next) {
		enum proto proto = entry->record->proto;

		if (entry->open && entry->socket.relay_count > 0)
			put_socket(pen, "listener", entry->record->id, proto, &entry->socket);
		for (size_t i = 0; i < entry->binding_count; i++)
			put_socket(pen, "binding", "-", proto, &entry->bindings[i].socket);
	}
	listen_claims_each(claims, put_claim, pen);
}

int inherit_save(struct table *table, const struct listen_claims *claims, const struct inherit_facts *facts,
	struct inherit_fds *fds)
{
	int fd = memfd_create("portald-sockets", MFD_CLOEXEC), copy;
	struct pen pen = {.fds = fds};

	if (fd < 0)
		return -errno;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	pen.out = copy < 0 ? NULL : fdopen(copy, "w");
	if (!pen.out) {
		if (copy >= 0)
			close(copy);
		close(fd);
		return -EMFILE;
	}
	fprintf(pen.out, HEAD " %u %u %u\n", (unsigned)facts->kind, (unsigned)facts->tool,
		facts->relay_count);
	put_all(&pen, table, claims);
	if (fclose(pen.out) == 0 && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	close(fd);
	return -ENOSPC;
}

/* ---- reading ---- */

static char *key_of_binding(enum proto proto, const struct addr_port *at, unsigned flags)
{
	char text[ADDR_TEXT_BYTES];

	/* No id has a blank in it. */
	return mem_printf("%s %s %u", proto_name(proto), addr_port_format(at, text), flags & LISTEN_DROP);
}

static bool parse_number(const char *text, long most, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	return end != text && *end == '\0' && errno == 0 && *out >= -1 && *out <= most;
}

/* Cuts the line at its blanks. Returns how many words there are, or 0 for too many. */
static size_t split(char *line, char **words)
{
	size_t count = 0;
	char *word;

	line[strcspn(line, "\n")] = '\0';
	while ((word = strsep(&line, " ")) != NULL) {
		if (count == MAX_WORDS)
			return 0;
		words[count++] = word;
	}
	return count;
}

/* Descriptors that were inherited are not to be handed on by accident. */
static bool parse_fds(char **words, size_t count, int *fds)
{
	long number;

	for (size_t i = 0; i < count; i++) {
		if (!parse_number(words[i], INT32_MAX, &number))
			return false;
		fds[i] = (int)number;
		if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
			return false;
	}
	return count > 0;
}

static void add_item(struct inherit *inherit, const char *kind, const char *id, const struct item *made)
{
	struct item *item = mem_calloc(1, sizeof(*item));

	*item = *made;
	if (strcmp(kind, "claim") == 0) {
		item->next = inherit->claims;
		inherit->claims = item;
		return;
	}
	item->key = strcmp(kind, "listener") == 0
			    ? mem_strdup(id)
			    : key_of_binding(item->proto, &item->socket.at, item->socket.flags);
	HASH_ADD_KEYPTR(hh, inherit->sockets, item->key, strlen(item->key), item);
}

static int parse_item(struct inherit *inherit, char **words, size_t count)
{
	struct item item = {.key = NULL};
	int fds[LISTEN_MAX_RELAYS];
	long flags;
	size_t wanted = strcmp(words[0], "claim") == 0 ? 1 : inherit->facts.relay_count;

	if (count != 4 + wanted || proto_parse(&item.proto, words[2]) < 0 ||
		!parse_number(words[3], 7, &flags) || flags < 0 || !parse_fds(words + 4, count - 4, fds) ||
		listen_adopt(&item.socket, item.proto, (unsigned)flags, fds, count - 4) < 0)
		return -EINVAL;
	add_item(inherit, words[0], words[1], &item);
	return 0;
}

static int parse_head(struct inherit_facts *facts, char **words, size_t count)
{
	long kind, tool, relays;

	if (count != 5 || strcmp(words[0], "portald-sockets") != 0 || strcmp(words[1], "1") != 0 ||
		!parse_number(words[2], STEERING_KINDS, &kind) ||
		!parse_number(words[3], STEERING_TOOL_LEGACY, &tool) ||
		!parse_number(words[4], LISTEN_MAX_RELAYS, &relays) || kind < 0 || tool < 0 || relays < 1)
		return -EINVAL;
	*facts = (struct inherit_facts){.kind = (enum steering_kind)kind,
		.tool = (enum steering_tool)tool,
		.relay_count = (uint32_t)relays};
	return 0;
}

static int read_lines(struct inherit *inherit, FILE *in)
{
	char *line = NULL, *words[MAX_WORDS];
	size_t capacity = 0, number = 0;
	int rc = 0;

	while (rc == 0 && getline(&line, &capacity, in) > 0) {
		size_t count = split(line, words);

		rc = number++ == 0 ? parse_head(&inherit->facts, words, count)
				   : parse_item(inherit, words, count);
	}
	free(line);
	return number == 0 ? -EINVAL : rc;
}

struct inherit *inherit_load(int fd)
{
	struct inherit *inherit = mem_calloc(1, sizeof(*inherit));
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *in = copy < 0 ? NULL : fdopen(copy, "r");

	if (!in && copy >= 0)
		close(copy);
	if (in && read_lines(inherit, in) == 0) {
		fclose(in);
		return inherit;
	}
	if (in)
		fclose(in);
	log_error("the list of sockets of the process before makes no sense: its version is another");
	inherit_free(inherit);
	return NULL;
}

const struct inherit_facts *inherit_facts(const struct inherit *inherit)
{
	return &inherit->facts;
}

/* ---- taking ---- */

static struct item *find(struct inherit *inherit, const char *key)
{
	struct item *item;

	HASH_FIND(hh, inherit->sockets, key, strlen(key), item);
	return item;
}

static void forget(struct inherit *inherit, struct item *item)
{
	HASH_DEL(inherit->sockets, item);
	free(item->key);
	free(item);
}

bool inherit_take_listener(struct inherit *inherit, const char *id, enum proto proto,
	const struct addr *bind_addr, const struct listen_range *range, struct listen_socket *out)
{
	struct item *item = inherit ? find(inherit, id) : NULL;
	uint16_t port = item ? item->socket.at.port : 0;

	if (!item || item->proto != proto || !addr_equal(&item->socket.at.addr, bind_addr) ||
		(range->first != 0 && (port < range->first || port > range->last)))
		return false;
	*out = item->socket;
	forget(inherit, item);
	return true;
}

bool inherit_take_binding(struct inherit *inherit, enum proto proto, const struct addr_port *at,
	unsigned flags, struct listen_socket *out)
{
	char *key = key_of_binding(proto, at, flags);
	struct item *item = inherit ? find(inherit, key) : NULL;

	free(key);
	if (!item)
		return false;
	*out = item->socket;
	forget(inherit, item);
	return true;
}

void inherit_take_claims(struct inherit *inherit, struct listen_claims *claims)
{
	while (inherit->claims) {
		struct item *item = inherit->claims;

		inherit->claims = item->next;
		if (listen_claims_adopt(claims, item->proto, item->socket.fds[0]) < 0)
			log_warning("a claim of the process before is lost");
		free(item);
	}
}

void inherit_free(struct inherit *inherit)
{
	struct item *item, *next;

	if (!inherit)
		return;
	HASH_ITER (hh, inherit->sockets, item, next) {
		listen_close(&item->socket);
		forget(inherit, item);
	}
	while (inherit->claims) {
		item = inherit->claims;
		inherit->claims = item->next;
		listen_close(&item->socket);
		free(item);
	}
	free(inherit);
}
