#!/usr/bin/env python3
"""Writes outcomes.tsv: what a client must make of each recorded answer.

It knows the API's documentation and nothing of the Go code:
    python3 outcomes.py > outcomes.tsv
"""
import gzip
import json

BY_CODE = {
    401002: "secret", 404001: "app-unknown", 429001: "rate-limited",
    400002: "server-refused", 400003: "server-refused", 400004: "server-refused",
    500001: "server-trouble",
}
BY_STATUS = {302: "server-trouble", 404: "not-supported", 405: "not-supported",
             413: "server-refused", 500: "server-trouble", 503: "server-trouble"}


def outcome(row):
    status, text = row["response"]["status"], row["response"]["body"]
    try:
        answer = json.loads(text)
    except ValueError:
        return BY_STATUS[status]
    code, data = answer["code"], answer.get("data")
    path = row["request"]["path"]
    if code == 200:
        if "urlPath" in data and not data["urlPath"].startswith("http://"):
            return "offer-bad"
        return "found %d" % data["versionCode"]
    if code == 0:
        return "reported" if "report" in path else "nothing"
    if code == 401001:
        return "server-clock" if "window" in answer["msg"] else "access-key"
    return BY_CODE[code]


for row in json.load(gzip.open("transcripts.json.gz", "rt", encoding="utf-8")):
    print(row["server"], row["name"], outcome(row), sep="\t")
