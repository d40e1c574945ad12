"""end_call and transfer_call: the call ends later, when the model's goodbye was heard."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from workers.backend import Snapshot, ToolCall
from workers.tools.base import ToolError
from workers.tools.toolbox import Ending, Toolbox
from workers.tools.transfer_call import TransferCall

TOOLS = {"tools": [{"name": "end_call"}, {"name": "transfer_call", "numbers": {"front desk": "+15550123"}}]}
END = ToolCall("c1", "end_call", "")
TRANSFER = ToolCall("c2", "transfer_call", '{"to": "front desk"}')


async def told(toolbox: Toolbox, call: ToolCall) -> Any:
    return json.loads(await toolbox.run(call))


async def test_nothing_ends_before_a_tool_says_so(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(**TOOLS)
    assert box.ending is None
    assert (await told(box, END))["ok"]
    assert box.ending == Ending("assistant_ended")


async def test_a_transfer_names_the_number_and_the_model_sees_only_the_name(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(**TOOLS)
    assert "+1555" not in json.dumps(box.definitions()) + json.dumps(await told(box, TRANSFER))
    assert box.ending == Ending("transferred", "+15550123")


async def test_a_caller_is_put_through_also_when_the_model_ends_the_call_besides(
    toolbox: Callable[..., Toolbox],
) -> None:
    box = toolbox(**TOOLS)
    for call in (END, TRANSFER, END):
        await box.run(call)
    assert box.ending == Ending("transferred", "+15550123")


async def test_a_caller_who_speaks_up_keeps_the_call(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(**TOOLS)
    await box.run(TRANSFER)
    box.go_on()
    box.go_on()
    assert box.ending is None
    await box.run(END)
    assert box.ending == Ending("assistant_ended")


async def test_the_next_worker_ends_the_call_as_this_one_would_have(
    toolbox: Callable[..., Toolbox], snapshot: Snapshot
) -> None:
    await toolbox(**TOOLS).run(TRANSFER)
    snapshot.flow = msgpack.unpackb(msgpack.packb(snapshot.flow))
    assert toolbox(**TOOLS).ending == Ending("transferred", "+15550123")


@pytest.mark.parametrize("arguments", ['{"to": "nobody"}', "{}", '{"to": "front desk", "now": true}'])
async def test_a_wrong_transfer_is_explained_and_nothing_ends(toolbox: Callable[..., Toolbox], arguments: str) -> None:
    box = toolbox(**TOOLS)
    assert "wrong arguments" in (await told(box, ToolCall("c", "transfer_call", arguments)))["error"]
    assert box.ending is None


async def test_an_unknown_name_is_answered_with_those_that_exist(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(**TOOLS)
    assert "front desk" in (await told(box, ToolCall("c", "transfer_call", '{"to": "nobody"}')))["error"]
    with pytest.raises(ToolError, match="'nobody'; there are: front desk"):
        await TransferCall({"front desk": "+15550123"}).call({"to": "nobody"}, box)
