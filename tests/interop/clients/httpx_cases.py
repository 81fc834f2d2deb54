"""What the page says of `EdiAuth`. Run in the Python work folder, beside the page's block; prints a line a case."""

import asyncio
import os
import runpy
import time

import httpx

page = runpy.run_path("httpx_auth.py")
model = os.environ["MODEL_URL"]
credentials = [os.environ["EDI_ISSUER"], os.environ["EDI_CLIENT_ID"], os.environ["EDI_CLIENT_SECRET"], "fraud-scoring"]


def fresh():
    return httpx.Client(auth=page["EdiAuth"](*credentials))


def two_requests_share_a_token():
    client = fresh()
    assert client.post(model).text == client.post(model).text != ""


def a_token_is_renewed_before_it_runs_out():
    client, clock = fresh(), time.monotonic
    first = client.post(model).text
    try:
        time.monotonic = lambda: clock() + 800
        assert client.post(model).text == first, "800 of 900 seconds: still good"
        time.monotonic = lambda: clock() + 820
        assert client.post(model).text != first, "820 of 900 seconds: time for the next"
    finally:
        time.monotonic = clock


def a_refused_token_is_replaced_once():
    answer = fresh().post(model + "once")
    assert answer.status_code == 200 and answer.text


def a_second_refusal_is_the_answer():
    assert fresh().post(model + "revoked").status_code == 401


def the_async_client_shares_a_token_too():
    async def twice():
        async with httpx.AsyncClient(auth=page["EdiAuth"](*credentials)) as client:
            return (await client.post(model)).text, (await client.post(model)).text
    first, second = asyncio.run(twice())
    assert first == second != ""


for case in (two_requests_share_a_token, a_token_is_renewed_before_it_runs_out, a_refused_token_is_replaced_once,
             a_second_refusal_is_the_answer, the_async_client_shares_a_token_too):
    try:
        case()
        print("ok", case.__name__)
    except Exception as error:
        print("FAILED", case.__name__, repr(error))
