export declare const SMQ: object;
