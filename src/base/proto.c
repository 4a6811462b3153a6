#include "portald/proto.h"

#include <errno.h>
#include <string.h>

static const char *const proto_names[] = {
	[PROTO_TCP] = "TCP",
	[PROTO_UDP] = "UDP",
	[PROTO_SCTP] = "SCTP",
};

const char *proto_name(enum proto proto)
{
	return proto_names[proto];
}

int proto_parse(enum proto *out, const char *text)
{
	for (enum proto p = PROTO_TCP; p <= PROTO_SCTP; p++) {
		if (strcmp(text, proto_names[p]) == 0) {
			*out = p;
			return 0;
		}
	}
	return -EINVAL;
}
