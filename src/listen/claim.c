/* Owns the sockets that claim ports for portals. Runs in the supervisor.
 *
 * A claim is without SO_REUSEADDR and SO_REUSEPORT: then every other bind() that overlaps it fails, whatever
 * options it sets, since sharing needs the consent of both. (A TCP claim has the former while it is bound,
 * lest connections that the port's last holder has closed block it for a minute.) It does not listen: a TCP
 * client that comes before the rule is there is refused, as it would be without the claim. A UDP socket can't
 * refuse; what comes before the rule is dropped by a socket filter, so that nothing gathers in the socket.
 *
 *     state   event                                        next
 *     none    hold()                                       wanted, or none if somebody else has the port
 *     wanted  begin()                                      stale
 *     stale   hold() of the same                           wanted
 *     stale   hold() of what it overlaps: it stands aside  none
 *     stale   end()                                        none
 */
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uthash.h>

#include "portald/listen.h"
#include "portald/mem.h"

/* Hashed as bytes: zeroed before it is filled. */
struct claim_key {
	struct addr_port at;
	enum proto proto;
};

struct claim {
	UT_hash_handle hh;
	struct claim_key key;
	int fd;
	bool wanted;
};

struct listen_claims {
	struct claim *held; /* a uthash */
};

static struct claim_key make_key(enum proto proto, const struct addr *addr, uint16_t port)
{
	struct claim_key key;

	memset(&key, 0, sizeof(key));
	key.at.addr = *addr;
	key.at.port = port;
	key.proto = proto;
	return key;
}

static struct claim *find(const struct listen_claims *claims, const struct claim_key *key)
{
	struct claim *claim;

	HASH_FIND(hh, claims->held, key, sizeof(*key), claim);
	return claim;
}

static void give_up(struct listen_claims *claims, struct claim *claim)
{
	HASH_DEL(claims->held, claim);
	close(claim->fd);
	free(claim);
}

/* ---- sockets ---- */

static int drop_all(int fd)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &none};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int set_up(int fd, const struct claim_key *key)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&key->at, &sa);
	int on = 1, off = 0, rc = 0;

	if (sa.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (key->proto == PROTO_UDP)
		rc = drop_all(fd);
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (rc == 0 && bind(fd, (struct sockaddr *)&sa, length) < 0)
		rc = -errno;
	if (rc == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)) < 0)
		rc = -errno;
	return rc;
}

/* Returns the descriptor or a negative errno. */
static int open_claim(const struct claim_key *key)
{
	int family = addr_family(&key->at.addr) == ADDR_V6 ? AF_INET6 : AF_INET;
	int type = key->proto == PROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int fd, rc;

	if (key->proto != PROTO_TCP && key->proto != PROTO_UDP)
		return -EPROTONOSUPPORT;
	fd = socket(family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	rc = set_up(fd, key);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* ---- overlaps ---- */

static bool overlaps(const struct claim_key *a, const struct claim_key *b)
{
	return a->proto == b->proto && a->at.port == b->at.port &&
	       addr_family(&a->at.addr) == addr_family(&b->at.addr) &&
	       (addr_is_any(&a->at.addr) || addr_is_any(&b->at.addr));
}

static bool is_covered(const struct listen_claims *claims, const struct claim_key *key)
{
	struct addr any = addr_any(addr_family(&key->at.addr));
	struct claim_key whole = make_key(key->proto, &any, key->at.port);
	struct claim *claim = find(claims, &whole);

	return claim && claim->wanted;
}

/* Gives up stale claims that are in the way of one for a part, or for the whole, of what they hold. */
static void stand_aside(struct listen_claims *claims, const struct claim_key *key)
{
	struct claim *claim, *next;

	HASH_ITER (hh, claims->held, claim, next) {
		if (!claim->wanted && overlaps(&claim->key, key))
			give_up(claims, claim);
	}
}

static int open_new(struct listen_claims *claims, const struct claim_key *key)
{
	int fd = open_claim(key);
	struct claim *claim;

	if (fd == -EADDRINUSE) {
		stand_aside(claims, key);
		fd = open_claim(key);
	}
	if (fd < 0)
		return fd;
	claim = mem_calloc(1, sizeof(*claim));
	claim->key = *key;
	claim->fd = fd;
	claim->wanted = true;
	HASH_ADD(hh, claims->held, key, sizeof(claim->key), claim);
	return 0;
}

/* ---- the set ---- */

struct listen_claims *listen_claims_new(void)
{
	return mem_calloc(1, sizeof(struct listen_claims));
}

void listen_claims_begin(struct listen_claims *claims)
{
	for (struct claim *claim = claims->held; claim; claim = claim->hh.next)
		claim->wanted = false;
}

int listen_claims_hold(struct listen_claims *claims, enum proto proto, const struct addr_port *at)
{
	struct claim_key key = make_key(proto, &at->addr, at->port);
	struct claim *claim = find(claims, &key);

	if (claim) {
		claim->wanted = true;
		return 0;
	}
	return is_covered(claims, &key) ? 0 : open_new(claims, &key);
}

int listen_claims_adopt(struct listen_claims *claims, enum proto proto, int fd)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct claim *claim;
	struct addr_port at;
	int rc = getsockname(fd, (struct sockaddr *)&sa, &length) < 0 ? -errno : 0;

	if (rc == 0)
		rc = addr_from_sockaddr(&at, (struct sockaddr *)&sa);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	claim = mem_calloc(1, sizeof(*claim));
	claim->key = make_key(proto, &at.addr, at.port);
	claim->fd = fd;
	HASH_ADD(hh, claims->held, key, sizeof(claim->key), claim);
	return 0;
}

void listen_claims_each(const struct listen_claims *claims,
	void (*visit)(void *context, enum proto proto, int fd), void *context)
{
	for (const struct claim *claim = claims->held; claim; claim = claim->hh.next)
		visit(context, claim->key.proto, claim->fd);
}

void listen_claims_end(struct listen_claims *claims)
{
	struct claim *claim, *next;

	HASH_ITER (hh, claims->held, claim, next) {
		if (!claim->wanted)
			give_up(claims, claim);
	}
}

size_t listen_claims_count(const struct listen_claims *claims)
{
	return HASH_COUNT(claims->held);
}

void listen_claims_free(struct listen_claims *claims)
{
	if (!claims)
		return;
	listen_claims_begin(claims);
	listen_claims_end(claims);
	free(claims);
}
