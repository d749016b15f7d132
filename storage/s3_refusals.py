"""What an S3 store's refusal means to the caller and to whoever runs the server. Knows status and code; no SDK."""

import random

from storage.objects import KeyRefused, OutcomeUnknown, StoreError, StoreRefused, StoreUnavailable

READ_ATTEMPTS = 3  # reads are tried again where that may help, since nothing but time is lost by it
FIRST_PAUSE_SECONDS = 0.05  # before a read's second attempt; doubles, with jitter

# What an error code asks of whoever runs the server. Stores that are not Amazon's have codes of their own.
WHAT_TO_DO = {
    "NoSuchBucket": "the bucket does not exist; create it, or name another",
    "AccessDenied": "access denied; the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket",
    "AllAccessDisabled": "the bucket or the account is disabled; see to it in the provider's console",
    "InvalidAccessKeyId": "the store does not know this access key; check AWS_ACCESS_KEY_ID and the endpoint URL",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired; get new ones",
    "InvalidToken": "the session token is not valid; check AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than 15 minutes; set it",
    "PermanentRedirect": "the bucket is in another region; set the region to the bucket's",
    "IllegalLocationConstraintException": "the bucket is in another region; set the region to the bucket's",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set the region to the bucket's",
    "NotImplemented": "the store lacks something that is needed here, such as conditional writes; use another",
    "KeyTooLongError": "the key is too long for the store; use a shorter stream path",
    "XMinioInvalidObjectName": "the store does not accept this key; use a shorter stream path",
    "MetadataTooLarge": "the metadata is too large for the store",
    "EntityTooLarge": "the object is too large for the store",
}
KEY_CODES = {"KeyTooLongError", "XMinioInvalidObjectName"}
WHAT_TO_DO_BY_STATUS = {  # where there is no code: a HEAD has no body
    301: WHAT_TO_DO["PermanentRedirect"],
    403: WHAT_TO_DO["AccessDenied"],
    501: WHAT_TO_DO["NotImplemented"],
}


def refusal(where: str, status: int, code: str, said: str, *, writing: bool) -> StoreError:
    """Return the port's error for an answer that is neither success, absence nor a condition that did not hold."""
    said = f"{code}: {said}".rstrip(": ")
    # 408, and 400 RequestTimeout: the store gave up waiting for the body, which may yet be on its way.
    timed_out = status == 408 or code == "RequestTimeout"
    if timed_out or status == 409 or (status >= 500 and status != 501):
        return OutcomeUnknown(f"{where}: {said}") if writing else StoreUnavailable(f"{where}: {said}")
    if status == 429:
        return StoreUnavailable(f"{where}: {said}")
    advice = WHAT_TO_DO.get(code) or WHAT_TO_DO_BY_STATUS.get(status)
    kind = KeyRefused if code in KEY_CODES else StoreRefused
    return kind(f"{where}: {advice} ({said})" if advice else f"{where}: {said}")


def pause_before(attempt: int) -> float:
    """Return the seconds to wait before a read's second attempt (1), third (2), and so on."""
    # Not the module's own generator, whose state all clones of a snapshot share.
    return FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1) * (0.5 + random.SystemRandom().random() / 2)
