// node client.cjs LIBRARY exchange URL: sends messages, each after the answer to the one before, then closes.
// node client.cjs LIBRARY close URL COUNT: COUNT clients, each of which closes when it has had some messages.
// Prints what happened as one line of JSON. LIBRARY: "ws", or "undici", which is also the WebSocket of Node.js.
"use strict";

const [library, mode, url, count] = process.argv.slice(2);
const MESSAGES = 4;
// Messages after which a client closes, while more are on their way.
const CLOSE_AFTER = 5;

function connect() {
  const { WebSocket } = require(library);
  // ws compresses messages of 1 KiB and more by default.
  return library === "ws" ? new WebSocket(url, { perMessageDeflate: { threshold: 0 } }) : new WebSocket(url);
}

function exchange() {
  const socket = connect();
  const answers = [];
  const send = () => socket.send(JSON.stringify({ type: `x${answers.length}`, text: "the same text ".repeat(200) }));
  socket.addEventListener("open", send);
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.type !== "error") {
      return;
    }
    answers.push(message.code);
    if (answers.length < MESSAGES) {
      send();
    } else {
      socket.close(1000);
    }
  });
  socket.addEventListener("close", ({ code, wasClean }) => {
    console.log(JSON.stringify({ extensions: socket.extensions, answers, code, wasClean }));
  });
}

function closeAll() {
  const codes = [];
  for (let n = 0; n < Number(count); n += 1) {
    const socket = connect();
    let received = 0;
    socket.addEventListener("message", () => {
      received += 1;
      if (received === CLOSE_AFTER + (n % 7)) {
        socket.close(1000);
      }
    });
    socket.addEventListener("close", ({ code }) => {
      codes.push(code);
      if (codes.length === Number(count)) {
        console.log(JSON.stringify(codes));
      }
    });
    socket.addEventListener("error", () => {});
  }
}

if (mode === "exchange") {
  exchange();
} else {
  closeAll();
}
