// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The SMQ client as an ES module: `import { Client } from "/rtl/smq.mjs"`. The implementation is smq.js, loaded once,
// whoever asks for it.
import "./smq.js";

const SMQ = globalThis.SMQ;

export const { Client, wsURL, websocket, utf8 } = SMQ;
export default SMQ;
