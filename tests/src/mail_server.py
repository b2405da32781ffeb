# A mail server for tests: aiosmtpd, which speaks TLS by OpenSSL. Prints its port, and then each mail, as a line of JSON.
# Arguments: how TLS begins (starttls or implicit), the certificate, its key, and the one password of the user `keys`.
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

begins, certificate, key, password = sys.argv[1:]


class Mails:
    async def handle_DATA(self, server, session, envelope):
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "defects": [repr(defect) for part in parsed.walk() for defect in part.defects],
            "to": parsed["To"],
            "mime_version": parsed["MIME-Version"],
            "recipient": envelope.rcpt_tos[0],
            "text": envelope.content.decode("ascii").replace("\r\n", "\n"),
            "sender": session.auth_data and session.auth_data.login.decode(),
            "protocol": server.transport.get_extra_info("ssl_object").version(),
        }
        print(json.dumps(mail), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, given):
    return AuthResult(success=given.password.decode() == password, handled=False, auth_data=given)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
settings = {"authenticator": authenticate, "auth_required": True, "hostname": "mail.example.com"}
if begins == "starttls":
    settings |= {"tls_context": context, "require_starttls": True}
else:
    # By TLS it means STARTTLS.
    settings |= {"auth_require_tls": False}


async def serve():
    loop = asyncio.get_running_loop()
    wrapped = context if begins == "implicit" else None
    server = await loop.create_server(lambda: SMTP(Mails(), **settings), "127.0.0.1", 0, ssl=wrapped)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(serve())
