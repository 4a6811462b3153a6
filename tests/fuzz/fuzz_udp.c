/* Fuzzes the reading of what comes with a datagram: any name and any control messages, of any length. What is
 * accepted has a sender, and an answer to it says what was asked. */
#include <stdlib.h>
#include <string.h>

#include "relay/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
	if (!condition)
		abort();
}

static void check(const struct udp_key *key)
{
	union udp_control control = {0};
	union udp_name name = {.v4 = {.sin_family = AF_INET, .sin_port = htons(53)}};
	struct msghdr answer = {.msg_name = &name, .msg_namelen = sizeof(name.v4), .msg_control = &control};
	struct addr other = {{1}};
	struct udp_key again;

	require(key->port > 0 && key->port <= UINT16_MAX && key->listener == 0 && key->zero == 0);
	answer.msg_controllen = udp_msg_set_source(&control, key);
	require(answer.msg_controllen <= sizeof(control));
	require(udp_msg_parse(&answer, &other, &again) == 0);
	require(addr_equal(&again.local, &key->local));
}

/* The first two bytes: the lengths of name and control messages, which follow. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addr bound = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
	union udp_name name = {0};
	struct msghdr msg = {.msg_name = &name};
	struct udp_key key;

	if (size < 2)
		return 0;
	msg.msg_namelen = data[0] % (sizeof(name) + 1);
	msg.msg_controllen = data[1];
	data += 2;
	size -= 2;
	if (size < msg.msg_namelen + msg.msg_controllen)
		return 0;
	memcpy(&name, data, msg.msg_namelen);
	/* Aligned, as the kernel writes them, and exactly as long as is said. */
	msg.msg_control = malloc(msg.msg_controllen ? msg.msg_controllen : 1);
	require(msg.msg_control != NULL);
	memcpy(msg.msg_control, data + msg.msg_namelen, msg.msg_controllen);
	if (udp_msg_parse(&msg, &bound, &key) == 0)
		check(&key);
	free(msg.msg_control);
	return 0;
}
