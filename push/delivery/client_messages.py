"""What a client's messages do to its session. Commands that need more than the session are handed to the caller."""

from __future__ import annotations

from push.delivery.batch import Batch
from push.delivery.session import Session
from push.protocol.commands import InvalidMessage, parse_message
from push.protocol.messages import CloseCode, Command, Ping, Pong, Subscribe, Unsubscribe, encode

__all__ = ["receive_binary", "receive_text"]

_PONG_BATCH = Batch([encode(Pong())])


def receive_text(session: Session, text: str) -> Command | None:
    """Answer a text message. Returns a command that the caller has to pass to ``SessionManager.handle_command``.

    A message that cannot be parsed is answered with an error; the session goes on.
    """
    if session.close_code is not None:
        return None
    try:
        command = parse_message(text)
    except InvalidMessage as error:
        session.send_error(error.code, str(error))
        return None
    match command:
        case Ping():
            session.send(_PONG_BATCH)
        case Pong():
            pass  # the transport has reported the client alive when the frame began
        case Subscribe() | Unsubscribe() if session.grant is None:
            session.send_error("not_authenticated", 'send {"type":"auth","token":…} first')
        case _:
            return command
    return None


def receive_binary(session: Session) -> None:
    """Close the session: the protocol has no binary messages."""
    session.close(CloseCode.UNSUPPORTED)
