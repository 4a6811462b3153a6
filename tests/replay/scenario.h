/* Scenarios: files that say what a watch is told and what it must do, line by line, on a fake clock.
 *
 *     # a comment                       blank lines are passed over
 *     let NAME TEXT                     $NAME stands for TEXT in later lines
 *     watch services|endpoints|node     a new watch; those that exist are kept: another line goes back to one
 *     random NUMBER                     what the source of random numbers gives from now on
 *     at MS | after MS                  sets the clock; moves it on
 *     start                             watch_start()
 *     request TARGET                    this request must be due, and is sent
 *     request+renew TARGET              the same, with new credentials
 *     due MS|never                      watch_due_ms() must be this
 *     idle                              no request may be due
 *     timer kept|dropped                watch_timer() must say this
 *     chunk BYTES                       bodies come in such pieces from now on (0: whole)
 *     response STATUS [RETRY-AFTER]     a response's head
 *     body TEXT | bytes TEXT            of its body, with and without a newline behind; it must be taken
 *     dropped TEXT                      of its body; it must be refused
 *     recorded NAME                     head and body from recorded/NAME.http; may be refused at the end
 *     end ok|cut|refused                the response is over
 *     synced yes|no                     and the following: what the store must say
 *     services TEXT...                  all of them, "namespace/name" sorted; or "none"
 *     service NAMESPACE/NAME TEXT       "ADDRESS:PORT ..."
 *     endpoints NAMESPACE/NAME TEXT     "ADDRESS:PORT[!] ..." sorted by slice; ! is not ready; or "none"
 *     node TEXT                         "NAME ZONE ADDRESS...", "-" for no zone, "!" last if it is to go
 *     changed TEXT...                   what changed since the last such line, sorted; or "none"
 *     version TEXT                      the resource version come to
 *     api TEXT                          the API version in use
 *     report TEXT                       the last report contains this
 *     problem TEXT|none                 the status' problem contains this
 */
#ifndef REPLAY_SCENARIO_H
#define REPLAY_SCENARIO_H

/* Runs a file; fails the running test with file and line where it is not as it says. */
void scenario_run(const char *path, const char *recorded_directory);

#endif
