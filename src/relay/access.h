/* The access log: one line of JSON for each connection, written to a descriptor that never blocks. Without
 * such a log no connection has anything here. */
#ifndef RELAY_ACCESS_H
#define RELAY_ACCESS_H

#include "portald/addr.h"
#include "portald/stats.h"

struct access;
struct arrival;
struct conn;
struct listener;
struct relay;

/* The connection is in the log from now on. Out of memory it is not, and counts as a lost line. */
void access_begin(struct relay *relay, struct conn *conn, const struct arrival *arrival);

/* It is connected, with so many attempts; and how it ends: a constant text, of which the first counts. Both
 * harmless for a connection that is not in the log. */
void access_connected(struct conn *conn, const struct addr_port *backend, unsigned attempts);
void access_ends(struct conn *conn, const char *how);

/* Writes its line. Harmless likewise. */
void access_end(struct relay *relay, struct conn *conn);

/* Writes the line of one that was refused before it became a connection. */
void access_refused(struct relay *relay, const struct listener *listener, const struct arrival *arrival,
	enum stats_failure why);

#endif
