/* Layer 4 protocols, by Kubernetes' names. */
#ifndef PORTALD_PROTO_H
#define PORTALD_PROTO_H

enum proto { PROTO_TCP, PROTO_UDP, PROTO_SCTP };

/* "TCP", "UDP" or "SCTP". */
const char *proto_name(enum proto proto);

/* Parses the API's spelling (upper case). Returns 0 or -EINVAL. */
int proto_parse(enum proto *out, const char *text);

#endif
