"""Events as each kind of front end sends them: Function URL, HTTP API, REST API, load balancer. Knows no function."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

Make = Callable[[str, str, str, Mapping[str, str], bytes], dict[str, Any]]  # method, path, query, headers, body


def _body(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    if headers.get("content-type", "").startswith(("text/", "application/json")):
        return {"body": body.decode(), "isBase64Encoded": False}
    return {"body": b64encode(body).decode() if body else None, "isBase64Encoded": bool(body)}


def function_url(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Payload 2.0 of a Function URL: the path as it came."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "abc.lambda-url.eu-central-1.on.aws", "x-forwarded-proto": "https", **headers},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abc",
            "domainName": "abc.lambda-url.eu-central-1.on.aws",
            "domainPrefix": "abc",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl/8",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "24/Nov/2026:19:00:00 +0000",
            "timeEpoch": 1795546800000,
        },
        **_body(headers, body),
    }


def http_api(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Payload 2.0 of an HTTP API with a named stage, which the path begins with; it has cookies apart."""
    event = function_url(method, f"/prod{path}", query, headers, body)
    event["headers"] |= {"host": "abc.execute-api.eu-central-1.amazonaws.com"}
    event["requestContext"] |= {"stage": "prod", "domainName": "abc.execute-api.eu-central-1.amazonaws.com"}
    return {**event, "cookies": ["a=b", "c=d"]}


def rest_api(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Payload 1.0 of a REST API: its query is decoded, its stage is not in the path."""
    pairs = parse_qsl(query, keep_blank_values=True)
    named = {"Host": "abc.execute-api.eu-central-1.amazonaws.com", "X-Forwarded-Proto": "https", **headers}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": named,
        "multiValueHeaders": {name: [value] for name, value in named.items()},
        "queryStringParameters": dict(pairs) or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in pairs} or None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/{proxy+}",
            "httpMethod": method,
            "path": f"/prod{path}",
            "stage": "prod",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8"},
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "apiId": "abc",
        },
        **_body(headers, body),
    }


def load_balancer(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """What an Application Load Balancer sends: the query is as it came, headers have one value."""
    group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/streams/49e9d65c45c6791a"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": method,
        "path": path,
        "queryStringParameters": dict(pair.split("=", 1) for pair in query.split("&")) if query else {},
        "headers": {"host": "streams.example", "x-forwarded-proto": "https", "x-forwarded-port": "443", **headers},
        **_body(headers, body),
    }


KINDS: dict[str, Make] = {
    "Function URL": function_url,
    "HTTP API": http_api,
    "REST API": rest_api,
    "load balancer": load_balancer,
}


def headers_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of an answer, names in lower case."""
    found = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        found[name.lower()] = ", ".join(values)
    return found
