"""How a running balancer gives its listening sockets to its successor.

The one that runs is the *incumbent*, the one that is to replace it the *successor*.
They speak over one connection of a Unix-domain socket. Here is what they say
(`messages`, `wire`, `pingora`, `dialect`) and the two machines that say it
(`incumbent`, `successor`). No descriptor is ever seen here: a listener has a key, a
connection its id, and what was received a token.

A runtime feeds a machine what `events` lists and performs what `effects` lists, like
for every other machine. Each machine is one upgrade; one that is `over` is thrown away.
"""
