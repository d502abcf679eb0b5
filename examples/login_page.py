"""A login page for LOGIN_URL: it checks a name and a password, and hands a token back to the dashboard.

JWT_SECRET=… LOGIN_URL=http://127.0.0.1:8081/login make run
JWT_SECRET=… DASHBOARD=http://127.0.0.1:8000/admin/dashboard STAFF_PASSWORD=… python examples/login_page.py
"""

import hmac
import os
import time
from urllib.parse import urlencode

import jwt
from aiohttp import web

FIELDS = '<label>Name <input name="name"></label> <label>Password <input name="password" type="password"></label>'
PAGE = f'<!doctype html><form method="post">{FIELDS}<button>Log in</button></form>'


async def show(_request: web.Request) -> web.Response:
    """The form. It is sent to the same address, with return_to and state in its query."""
    return web.Response(text=PAGE, content_type="text/html")


async def log_in(request: web.Request) -> web.Response:
    """Redirect with a token in the fragment, which browsers send to no server and keep out of logs."""
    form, return_to = await request.post(), request.query.get("return_to", "")
    page = return_to.partition("?")[0] + "/"
    if not page.startswith(os.environ["DASHBOARD"] + "/"):  # else another site could ask for a token of your staff
        raise web.HTTPBadRequest(text="return_to is not a page of the dashboard")
    if not hmac.compare_digest(str(form.get("password")), os.environ["STAFF_PASSWORD"]):  # ask your users' table instead
        raise web.HTTPForbidden(text="wrong name or password")
    claims = {"role": "admin", "sub": str(form.get("name")), "iat": int(time.time()), "exp": int(time.time()) + 900}
    token = jwt.encode(claims, os.environ["JWT_SECRET"], "HS256")
    fragment = urlencode({"token": token, "state": request.query.get("state", "")})
    return web.Response(status=303, headers={"Location": f"{return_to}#{fragment}"})  # HTTPSeeOther would decode the fragment


app = web.Application()
app.add_routes([web.get("/login", show), web.post("/login", log_in)])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=8081)
