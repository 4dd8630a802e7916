// Replaced by the client of the `js` branch.
export const SMQ = {};
