"""What tests of lbproto are made of; public, for tests of what embeds it.

`cuts` divides bytes, `playbook` writes scenarios down as transcripts, `sim` is a
network and a clock that exist only as data, `strategies` feeds hypothesis.
"""
