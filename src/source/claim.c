/* Settles which Service has which clusterIP and nodePort. Runs in control, in `portald plan` and in the
 * fuzzers.
 *
 * Explicit ones first, in the order of the input: the API server would have refused the later of two. Then
 * the missing ones: a hash of the Service's name says where in the range the search for a free one begins, so
 * that a Service has the same ones at every start, and keeps them while others come and go unless they meet.
 */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "portald/mem.h"
#include "source/set.h"

#define PORTS 65536

/* Offsets in the range that clusters give to the API server's own Service and to DNS. */
#define OFFSET_KUBERNETES 1
#define OFFSET_DNS 10
/* In a smaller range nothing is spared. */
#define SPARING_MIN_ADDRESSES 32

struct address_claim {
	UT_hash_handle hh;
	struct addr addr;
	const struct set_service *owner;
};

struct claims {
	struct set *set;
	struct address_claim *addresses;
	const struct set_service **ports; /* by number: the API server's table knows no protocols either */
};

static void claims_init(struct claims *claims, struct set *set)
{
	*claims = (struct claims){.set = set, .ports = mem_calloc(PORTS, sizeof(*claims->ports))};
}

static void claims_fini(struct claims *claims)
{
	struct address_claim *claim = claims->addresses, *next;

	/* Frees the table; the entries are still linked. */
	HASH_CLEAR(hh, claims->addresses);
	for (; claim; claim = next) {
		next = claim->hh.next;
		free(claim);
	}
	free(claims->ports);
}

static const struct set_service *address_owner(const struct claims *claims, const struct addr *addr)
{
	struct address_claim *claim;

	HASH_FIND(hh, claims->addresses, addr, sizeof(*addr), claim);
	return claim ? claim->owner : NULL;
}

static void claim_address(struct claims *claims, const struct addr *addr, const struct set_service *owner)
{
	struct address_claim *claim = mem_calloc(1, sizeof(*claim));

	claim->addr = *addr;
	claim->owner = owner;
	HASH_ADD(hh, claims->addresses, addr, sizeof(claim->addr), claim);
}

/* ---- explicit ones ---- */

static void lose(struct claims *claims, struct set_service *service, struct place place, const char *field,
	const char *value, const char *what, const struct set_service *owner)
{
	char *where = findings_place(claims->set->findings, owner->object.place);

	findings_add(claims->set->findings, SOURCE_ERROR, place, service->object.title, field,
		"Invalid value: %s: provided %s is already allocated to %s (%s)", value, what,
		owner->object.title, where);
	free(where);
	if (!service->object.gone)
		claims->set->left_out++;
	service->object.gone = true;
}

static void check_addresses(struct claims *claims, struct set_service *service)
{
	char text[ADDR_TEXT_BYTES];

	for (size_t i = 0; i < service->model->cluster_ip_count; i++) {
		const struct addr *addr = &service->model->cluster_ips[i];
		const struct set_service *owner = address_owner(claims, addr);

		if (owner)
			lose(claims, service, service->cluster_ip_place,
				i ? "spec.clusterIPs[1]" : "spec.clusterIP", addr_format(addr, text), "IP",
				owner);
	}
}

static void check_port(struct claims *claims, struct set_service *service, uint16_t port, struct place place,
	const char *field)
{
	char *value;

	if (!port || !claims->ports[port])
		return;
	value = mem_printf("%u", port);
	lose(claims, service, place, field, value, "port", claims->ports[port]);
	free(value);
}

static void check_ports(struct claims *claims, struct set_service *service)
{
	for (size_t i = 0; i < service->model->port_count; i++) {
		char *field = mem_printf("spec.ports[%zu].nodePort", i);

		check_port(claims, service, service->model->ports[i].node_port,
			service->targets[i].node_port_place, field);
		free(field);
	}
	check_port(claims, service, service->model->health_check_node_port, service->object.place,
		"spec.healthCheckNodePort");
}

static void claim_all(struct claims *claims, const struct set_service *service)
{
	for (size_t i = 0; i < service->model->cluster_ip_count; i++) {
		if (!address_owner(claims, &service->model->cluster_ips[i]))
			claim_address(claims, &service->model->cluster_ips[i], service);
	}
	for (size_t i = 0; i < service->model->port_count; i++) {
		if (service->model->ports[i].node_port)
			claims->ports[service->model->ports[i].node_port] = service;
	}
	if (service->model->health_check_node_port)
		claims->ports[service->model->health_check_node_port] = service;
}

static void claim_explicit(struct claims *claims)
{
	for (size_t i = 0; i < claims->set->service_count; i++) {
		struct set_service *service = claims->set->services[i];

		if (service->object.gone)
			continue;
		check_addresses(claims, service);
		check_ports(claims, service);
		if (!service->object.gone)
			claim_all(claims, service);
	}
}

/* ---- missing ones ---- */

/* FNV-1a, whose values must never change: they are what makes allocation the same at every start. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
	return (hash ^ 0xff) * 0x100000001b3;
}

static uint64_t hash_service(const struct model_service *service)
{
	return hash_text(hash_text(0xcbf29ce484222325, service->namespace), service->name);
}

static struct addr addr_plus(const struct addr *base, uint64_t offset)
{
	struct addr sum = *base;

	for (size_t i = sizeof(sum.bytes); i-- > 0 && offset > 0;) {
		offset += sum.bytes[i];
		sum.bytes[i] = (uint8_t)offset;
		offset >>= 8;
	}
	return sum;
}

/* How many addresses the range has, as far as allocation goes: 2^32 are enough of an IPv6 range. */
static uint64_t range_size(const struct addr_prefix *range)
{
	unsigned bits = (addr_family(&range->addr) == ADDR_V4 ? 32 : 128) - range->bits;

	return (uint64_t)1 << (bits > 32 ? 32 : bits);
}

/* The network's own address, the broadcast address, and those that clusters use themselves. */
static bool is_spared(uint64_t offset, uint64_t size)
{
	if (size < SPARING_MIN_ADDRESSES)
		return false;
	return offset == 0 || offset == size - 1 || offset == OFFSET_KUBERNETES || offset == OFFSET_DNS;
}

static bool allocate_address(
	struct claims *claims, struct set_service *service, const struct addr_prefix *range)
{
	uint64_t size = range_size(range), start = hash_service(service->model) % size;
	/* No more probes than there can be claims and spared ones before a free one must come. */
	uint64_t probes = HASH_COUNT(claims->addresses) + 5;

	for (uint64_t i = 0; i < size && i < probes; i++) {
		uint64_t offset = (start + i) % size;
		struct addr addr = addr_plus(&range->addr, offset);

		if (is_spared(offset, size) || address_owner(claims, &addr))
			continue;
		service->model->cluster_ips[service->model->cluster_ip_count++] = addr;
		claim_address(claims, &addr, service);
		return true;
	}
	return false;
}

static void allocation_failed(struct claims *claims, struct set_service *service, struct place place,
	const char *field, const char *why)
{
	findings_add(claims->set->findings, SOURCE_ERROR, place, service->object.title, field, "%s", why);
	service->object.gone = true;
	claims->set->left_out++;
}

/* The range of that family, or NULL. */
static const struct addr_prefix *range_of(const struct source_options *options, enum addr_family family)
{
	if (addr_family(&options->service_cluster_ip_range.addr) == family)
		return &options->service_cluster_ip_range;
	if (options->has_second_cluster_ip_range &&
		addr_family(&options->second_cluster_ip_range.addr) == family)
		return &options->second_cluster_ip_range;
	return NULL;
}

/* Which family the Service's next address is of: as it says, else that of the primary range. */
static enum addr_family next_family(const struct set_service *service, const struct source_options *options)
{
	const struct model_service *model = service->model;

	if (model->cluster_ip_count > 0)
		return addr_family(&model->cluster_ips[0]) == ADDR_V4 ? ADDR_V6 : ADDR_V4;
	return service->family_count ? service->families[0]
				     : addr_family(&options->service_cluster_ip_range.addr);
}

static void no_range(struct claims *claims, struct set_service *service, enum addr_family family)
{
	const char *name = family == ADDR_V6 ? "IPv6" : "IPv4";

	if (service->model->cluster_ip_count == 0) {
		findings_add(claims->set->findings, SOURCE_NOTE, service->cluster_ip_place,
			service->object.title, "spec.clusterIP",
			"has none: --service-cluster-ip-range has no %s range, which its ipFamilies ask for",
			name);
	} else if (service->family_policy == REQUIRE_DUAL_STACK) {
		char *why =
			mem_printf("Invalid value: \"RequireDualStack\": --service-cluster-ip-range has no "
				   "%s range",
				name);

		allocation_failed(claims, service, service->family_policy_place, "spec.ipFamilyPolicy", why);
		free(why);
	}
}

static void allocate_cluster_ips(
	struct claims *claims, struct set_service *service, const struct source_options *options)
{
	size_t wanted = service->family_policy == SINGLE_STACK ? 1 : 2;

	if (!service->wants_cluster_ip || service->model->type == MODEL_EXTERNAL_NAME)
		return;
	while (service->model->cluster_ip_count < wanted) {
		enum addr_family family = next_family(service, options);
		const struct addr_prefix *range = range_of(options, family);

		if (!range) {
			no_range(claims, service, family);
			return;
		}
		if (!allocate_address(claims, service, range)) {
			allocation_failed(claims, service, service->cluster_ip_place, "spec.clusterIP",
				"failed to allocate an address: the range is full");
			return;
		}
	}
}

/* Ports with the same number (for TCP and UDP) get the same nodePort, as the API server does it. */
static uint16_t twin_node_port(const struct model_service *service, size_t index)
{
	const struct model_service_port *port = &service->ports[index];

	for (size_t i = 0; i < service->port_count; i++) {
		const struct model_service_port *other = &service->ports[i];

		if (i != index && other->port == port->port && other->proto != port->proto &&
			other->node_port)
			return other->node_port;
	}
	return 0;
}

/* A free port of the range, searched from where the hash says; 0 if there is none. */
static uint16_t find_port(struct claims *claims, const struct set_service *service, uint64_t hash,
	const struct source_options *options)
{
	uint32_t size = (uint32_t)options->node_port_last - options->node_port_first + 1;

	for (uint32_t i = 0; i < size; i++) {
		uint32_t number = options->node_port_first + (uint32_t)((hash + i) % size);

		if (claims->ports[number])
			continue;
		claims->ports[number] = service;
		return (uint16_t)number;
	}
	return 0;
}

static bool allocate_node_port(struct claims *claims, struct set_service *service, size_t index,
	const struct source_options *options)
{
	struct model_service_port *port = &service->model->ports[index];
	uint64_t hash = hash_text(hash_service(service->model), port->name);

	port->node_port = twin_node_port(service->model, index);
	if (!port->node_port)
		port->node_port =
			find_port(claims, service, hash_text(hash, proto_name(port->proto)), options);
	return port->node_port != 0;
}

static void allocate_health_check_port(
	struct claims *claims, struct set_service *service, const struct source_options *options)
{
	struct model_service *model = service->model;

	if (!service->wants_health_check_port || model->health_check_node_port)
		return;
	/* No port has such a name. */
	model->health_check_node_port =
		find_port(claims, service, hash_text(hash_service(model), "healthCheckNodePort"), options);
	if (!model->health_check_node_port)
		allocation_failed(claims, service, service->object.place, "spec.healthCheckNodePort",
			"failed to allocate a port: the range is full");
}

static void allocate_node_ports(
	struct claims *claims, struct set_service *service, const struct source_options *options)
{
	for (size_t i = 0; i < service->model->port_count && service->wants_node_ports; i++) {
		if (service->model->ports[i].node_port || allocate_node_port(claims, service, i, options))
			continue;
		allocation_failed(claims, service, service->targets[i].node_port_place, "spec.ports",
			"failed to allocate a nodePort: the range is full");
		return;
	}
}

static int service_cmp(const void *a, const void *b)
{
	const struct set_service *sa = *(struct set_service *const *)a, *sb = *(struct set_service *const *)b;
	int by_namespace = strcmp(sa->model->namespace, sb->model->namespace);
	int by_name = by_namespace ? by_namespace : strcmp(sa->model->name, sb->model->name);

	/* What was replaced has the same name. */
	return by_name ? by_name : (int)sa->object.gone - (int)sb->object.gone;
}

void set_claim(struct set *set, const struct source_options *options)
{
	struct claims claims;

	claims_init(&claims, set);
	claim_explicit(&claims);
	if (set->service_count)
		qsort(set->services, set->service_count, sizeof(*set->services), service_cmp);
	for (size_t i = 0; i < set->service_count; i++) {
		struct set_service *service = set->services[i];

		if (!service->object.gone)
			allocate_cluster_ips(&claims, service, options);
		if (!service->object.gone)
			allocate_node_ports(&claims, service, options);
		if (!service->object.gone)
			allocate_health_check_port(&claims, service, options);
	}
	claims_fini(&claims);
}
