"""The only way to the network: requests, answers, and what is tried again."""

from bcshopper._transport.convert import converter
from bcshopper._transport.http import Wire, open_pool
from bcshopper._transport.messages import (
    MAX_PER_WRITE,
    UNWATCHED,
    MalformedDocumentError,
    Reply,
    Request,
    Watch,
    count_fitting,
    post,
    read_no_body,
    split_fitting,
    with_ids,
)
from bcshopper._transport.problems import (
    NO_ERRORS,
    api_error,
    malformed,
    read_problems,
    says_something,
)
from bcshopper._transport.retry import Effect, RetryPolicy, effect_of
from bcshopper._transport.stats import SessionStats
from bcshopper._transport.transport import Options, Transport
