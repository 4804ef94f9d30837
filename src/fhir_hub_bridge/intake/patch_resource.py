"""A client's patch: made into the update that it means, and received as one.

The update names the version that was patched, so that nothing written meanwhile is lost; then the
patch is made anew. After: `receive_fhir`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fhir_hub_bridge.errors import VersionConflict
from fhir_hub_bridge.fhir.patch import patched, read_patch
from fhir_hub_bridge.intake.receive_fhir import Answered, Asked, receive
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.store.resources import read
from fhir_hub_bridge.store.transaction import Store

_TRIES: Final = 5


async def patch_resource(asked: Asked, *, store: Store, recording: Recording) -> Answered:
    """Store what the patch in `asked.body` makes of the current version, and answer it.

    Raises what `receive` raises, ResourceRejected for a patch that cannot be read or applied.
    """
    operations = read_patch(asked.body)
    for left in reversed(range(_TRIES)):
        stored = await store.read(read, asked.type, asked.id)
        if asked.if_match not in (None, stored.version):
            message = f"The current version is {stored.version}, not {asked.if_match}."
            raise VersionConflict(message)
        body = patched(stored.parsed(), operations)
        update = replace(asked, method="PUT", body=body, patch=asked.body, if_match=stored.version)
        try:
            return await receive(update, store=store, recording=recording)
        except VersionConflict:
            if asked.if_match is not None or not left:
                raise
    raise VersionConflict
