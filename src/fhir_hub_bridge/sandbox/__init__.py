"""Pretend partners: a referring EHR, a managed care plan, a community care hub, and made-up people.

They are strangers to the bridge: they import nothing of it and talk only HTTP and files, so that
what works with them works with somebody else's software. Each keeps an fsynced journal.
"""
