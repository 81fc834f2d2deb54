"""Takes a token on standard input to the Spring server of `EDI_ISSUER`; prints its answer or fails with its refusal."""

import json
import os
import sys
import urllib.error
import urllib.request

models = json.loads(os.environ["SPRING_MODELS"])
request = urllib.request.Request(models[os.environ["EDI_ISSUER"]] + "/predict", data=b"", method="POST",
                                 headers={"Authorization": "Bearer " + sys.stdin.read().strip()})
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as refusal:
    sys.exit(f"{refusal.code} {refusal.headers.get('WWW-Authenticate')}")
